"""`xhmtp check` names what web servers do wrong: the files of contrib/, each less a line."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.web_server import Authority
from tests.live.delivery import name_server
from tests.live.installation import Installation, Said
from tests.live.servers import AgentServer, running
from tests.live.test_check import TLSServer
from tests.live.web_servers import (
    Apache,
    ContribServer,
    GunicornBehindNginx,
    directory_in_memory,
)

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("check-web-servers")]

DOMAIN = "a.example"
ADDRESS = "127.0.0.6"


@contextmanager
def installed(server: AgentServer, made: Installation) -> Iterator[Installation]:
    made.prepare()
    server.settings.chmod(0o600)
    for file in server.directory.glob("*.db"):
        file.chmod(0o600)
    with running(server):
        yield made


def said_of(kind: type[ContribServer], changes: dict[str, str]) -> Said:
    """What a check says of a server whose file from contrib/ was changed so."""
    with directory_in_memory() as directory, name_server() as dns:
        server = kind(DOMAIN, ADDRESS, directory / "a", dns.port, changes=changes)
        with installed(server, Installation(server, dns)) as made:
            return made.check()


# Apache with mod_wsgi

ELSEWHERE = """WSGIApplicationGroup one
    WSGIImportScript /srv/example/elsewhere.py process-group=example application-group=%{GLOBAL}"""


class ApacheOfTwoSites(Apache):
    """Another site of this Apache has imported cryptography before ours does."""

    def configure(self) -> None:
        (self.directory / "elsewhere.py").write_text(
            "from cryptography.hazmat.primitives.asymmetric import ed25519\n"
        )
        super().configure()


@pytest.mark.parametrize(
    ("kind", "changes", "check", "fault", "remedy"),
    [
        (Apache, {}, "", "", ""),
        (Apache, {"WSGIPassAuthorization On": "WSGIPassAuthorization Off"}, "agent.authorization",
         "the Authorization header does not arrive", "WSGIPassAuthorization On"),
        (Apache, {"WSGIChunkedRequest On": "WSGIChunkedRequest Off"}, "agent.chunked",
         "answers 411", "WSGIChunkedRequest On"),
        (ApacheOfTwoSites, {"WSGIApplicationGroup %{GLOBAL}": ELSEWHERE}, "agent.interpreter",
         "no signature can be verified there", "WSGIApplicationGroup %{GLOBAL}"),
        (Apache, {"WSGIApplicationGroup %{GLOBAL}": "WSGIApplicationGroup one"},
         "agent.interpreter", "runs in a sub-interpreter", "WSGIApplicationGroup %{GLOBAL}"),
    ],
    ids=["well", "authorization", "chunked", "two interpreters", "a sub-interpreter"],
)  # fmt: skip
def test_what_apache_lacks_is_named_with_its_directive(
    kind: type[ContribServer], changes: dict[str, str], check: str, fault: str, remedy: str
):
    said = said_of(kind, changes)
    assert said.wrong() == ({check} if check else set()), said.lines
    if check:
        assert fault in said.of(check)
        assert remedy in said.of(check)


class ApacheOfAnotherUser(Apache):
    """The database is root's, as where the commands were run by root."""

    def launch(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        for file in self.directory.glob("*.db*"):
            shutil.chown(file, "root", "root")
        super().launch(*command, environment=environment)


def test_a_web_server_whose_user_may_not_write_the_database_is_named():
    if os.getuid() != 0:
        pytest.skip("only root can start a server that becomes another user")
    with directory_in_memory() as directory, name_server() as dns:
        server = ApacheOfAnotherUser(DOMAIN, ADDRESS, directory / "a", dns.port)
        with installed(server, Installation(server, dns)) as made:
            said = made.check()
    assert said.wrong() == {"agent"}, said.lines
    assert "answers 503" in said.of("agent")
    assert "its user may write the database" in said.of("agent")


# nginx in front of gunicorn


class UntrustedNginx(GunicornBehindNginx):
    """trusted_proxies does not name nginx."""

    def __post_init__(self) -> None:
        super().__post_init__()
        text = self.settings.read_text()
        assert 'trusted_proxies = ["127.0.0.1"]' in text
        self.settings.write_text(
            text.replace('trusted_proxies = ["127.0.0.1"]', "trusted_proxies = []")
        )


FORWARDED = "proxy_set_header X-Forwarded-For $remote_addr;"
PASS = "location ^~ /xhmtp/ {"


@pytest.mark.parametrize(
    ("kind", "changes", "check", "fault", "remedy"),
    [
        (GunicornBehindNginx, {}, "", "", ""),
        (UntrustedNginx, {}, "agent.client-address",
         "all seem to come from 127.0.0.1", 'trusted_proxies = ["127.0.0.1"]'),
        (GunicornBehindNginx,
         {FORWARDED: "proxy_set_header X-Forwarded-For $http_x_forwarded_for;"},
         "agent.client-address", "whoever connects can claim any address",
         "proxy_set_header X-Forwarded-For $remote_addr"),
        (GunicornBehindNginx, {FORWARDED: 'proxy_set_header X-Forwarded-For "";'},
         "agent.client-address", "a proxy does not tell whom", "have the proxy set"),
        (GunicornBehindNginx, {PASS: PASS + " rewrite ^(.*)@(.*)$ $1%2540$2 break;"},
         "agent.path", "is not answered", "pass on the path as it came"),
        (GunicornBehindNginx, {FORWARDED: FORWARDED + " proxy_set_header Authorization '';"},
         "agent.authorization", "does not arrive", "pass Authorization on"),
        (GunicornBehindNginx, {PASS: "location ^~ /elsewhere/ {", "location / {":
         "location / { return 404;"}, "agent", "the site's own answer", "hands /xhmtp to it"),
    ],
    ids=["well", "not trusted", "believes all", "tells nobody", "path", "authorization", "prefix"],
)  # fmt: skip
def test_what_nginx_does_wrong_is_named(
    kind: type[ContribServer], changes: dict[str, str], check: str, fault: str, remedy: str
):
    said = said_of(kind, changes)
    assert said.wrong() == ({check} if check else set()), said.lines
    if check:
        assert fault in said.of(check)
        assert remedy in said.of(check)


# TLS


@pytest.mark.parametrize(
    ("days", "self_signed", "host", "check", "fault"),
    [
        (-3, False, None, "tls", "has expired"),
        (5, True, None, "tls", "self-signed"),
        (90, False, "other.example", "tls", "another name"),
        (5, False, None, "tls.expiry", "ends in 5 days"),
    ],
    ids=["expired", "self-signed", "for another name", "ends soon"],
)
def test_a_certificate_that_others_refuse_or_soon_will_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    self_signed: bool,
    host: str | None,
    check: str,
    fault: str,
):
    with name_server() as dns:
        server = TLSServer(DOMAIN, "127.0.0.1", tmp_path / "a", dns.port)
        authority = Authority(server.directory)
        server.show(authority.certificate(host or server.host, days=days, self_signed=self_signed))
        monkeypatch.setenv("SSL_CERT_FILE", authority.file)
        with installed(server, Installation(server, dns, scheme="https")) as made:
            said = made.check()
    assert said.wrong() == {check}, said.lines
    assert fault in said.of(check)
    assert "certbot" in said.of(check)
