"""gpg finds an OpenPGP key by the address of its owner, in a Web Key Directory.

Name server, TLS at port 443 and certificate authority are real ones on loopback: gpg runs in mounts
of its own, in which the system's resolv.conf and certificates are those.
"""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from demonstration.name_server import NameServer
from tests.fakes.web_server import Authority
from tests.gpg_home import GPGHome, gpg_home
from tests.live.delivery import name_server
from tests.live.servers import need, running
from tests.live.test_check import TLSServer
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("openpgp")]

BOB = "bob@b.example"


@dataclass
class Directory:
    """bob's site over TLS at port 443, and what a machine needs to find and to trust it."""

    server: TLSServer
    mounts: tuple[str, ...]
    """What a program is started with, to see that name server and that authority as its own."""
    distrustful: tuple[str, ...]
    """The same without the authority."""


@contextmanager
def directory(
    path: Path, host: str, settings: str = "web_key_directory = true"
) -> Iterator[Directory]:
    """bob's site, found by its host's name: DOMAIN, or ``openpgpkey.DOMAIN``."""
    if os.geteuid() != 0:
        pytest.skip("ports 53 and 443, and mounts of its own, are root's")
    # Ports that everybody has: at an address that nobody else uses.
    address = "127." + ".".join(str(random.randint(10, 250)) for _ in range(3))
    files = {"resolv.conf": f"nameserver {address}\n"}
    authority = Authority(path)
    files["trusted.pem"] = Path(authority.file).read_text()
    for name, text in files.items():
        (path / name).write_text(text)
    mount = f"mount --bind {path}/resolv.conf /etc/resolv.conf"
    trust = f"mount --bind {path}/trusted.pem /etc/ssl/certs/ca-certificates.crt"
    if _mounted(mount, "true"):
        pytest.skip("this container may not have mounts of its own")
    zone = f"{host}. 60 A {address}\n"
    with name_server() as dns, NameServer(zone, address, 53):
        server = TLSServer("b.example", address, path / "b", dns.port, port=443)
        server.show(authority.certificate(host, days=90))
        server.settings.write_text(server.settings.read_text() + settings + '\nprefix = "xhmtp"\n')
        server.agent().accounts.add(Endpoint.parse(BOB), "builder")
        with running(server):
            yield Directory(server, _in_mounts(f"{mount} && {trust}"), _in_mounts(mount))


def _in_mounts(begin: str) -> tuple[str, ...]:
    return (
        need("unshare"), "--mount", "--propagation", "private", "sh", "-c",
        f'{begin} && exec "$@"', "sh",
    )  # fmt: skip


def _mounted(begin: str, program: str) -> int:
    return subprocess.run([*_in_mounts(begin), program], check=False).returncode


@contextmanager
def stranger(before: tuple[str, ...]) -> Iterator[GPGHome]:
    """Somebody's gpg, which knows nobody, on that machine; with it its dirmngr."""
    need("dirmngr")
    with gpg_home(before) as home:
        (home.directory / "dirmngr.conf").write_text("no-use-tor\ndisable-ipv6\n")
        yield home


LOCATE = ("--auto-key-locate", "clear,nodefault,wkd", "--locate-keys")


@pytest.mark.parametrize("host", ["b.example", "openpgpkey.b.example"])
def test_gpg_finds_a_published_key_by_its_address(tmp_path: Path, host: str):
    with directory(tmp_path, host) as site, gpg_home() as bobs:
        fingerprint = bobs.make_key(f"Bob <{BOB}>")
        (tmp_path / "bob.asc").write_bytes(bobs.export(BOB, "--armor"))
        told = site.server.must("xhmtp", "key", "add", BOB, str(tmp_path / "bob.asc"))
        assert "it is found at https://b.example/.well-known/openpgpkey/hu/" in told
        with stranger(site.mounts) as gpg:
            gpg.run(*LOCATE, "Cheryl@b.example", fails=True)
            assert fingerprint.encode() in gpg.run(*LOCATE, BOB).stdout
            assert gpg.fingerprints(BOB) == [fingerprint]
            sealed = gpg.run("--trust-model", "always", "--recipient", BOB, "--encrypt",
                             given=b"hello").stdout  # fmt: skip
            assert bobs.run("--decrypt", given=sealed).stdout == b"hello"
        with stranger(site.distrustful) as gpg:
            gpg.run(*LOCATE, BOB, fails=True)
            assert gpg.run("--list-keys").stdout == b"", "nothing without a certificate"
        site.server.must("xhmtp", "key", "retire", BOB, fingerprint)
        with stranger(site.mounts) as gpg:
            gpg.run(*LOCATE, BOB, fails=True)


def test_without_the_setting_gpg_finds_nothing(tmp_path: Path):
    with directory(tmp_path, "b.example", settings="") as site, gpg_home() as bobs:
        bobs.make_key(f"Bob <{BOB}>")
        (tmp_path / "bob.gpg").write_bytes(bobs.export(BOB))
        told = site.server.must("xhmtp", "key", "add", BOB, str(tmp_path / "bob.gpg"))
        assert "web_key_directory of b.example is not on" in told
        with stranger(site.mounts) as gpg:
            gpg.run(*LOCATE, BOB, fails=True)
