"""The demonstration's name server with a zone that is a file, as the tutorial has it."""

import subprocess
import sys
from pathlib import Path

import pytest

from demonstration.name_server import ZoneFileServer
from tests.documents import ROOT
from xhmtp_wsgi.dns_resolver import DNSResolver

ZONE = """\
; what a zone file has
a.example. A 127.0.0.2

b.example. 60 IN A 127.0.0.3  ; with TTL and class
_xhmtp._tcp.a.example. SRV 0 0 8000 a.example.
_prefix._xhmtp.a.example. TXT "xhmtp"  ; published
"""


def addresses(server: ZoneFileServer, name: str) -> list[str]:
    answer = DNSResolver([(server.address, server.port)]).resolve(name, "A")
    return [str(one) for one in answer.records]


def test_lines_are_read_as_zone_files_have_them(tmp_path: Path):
    zone = tmp_path / "zone"
    zone.write_text(ZONE)
    with ZoneFileServer(zone) as server:
        assert addresses(server, "a.example") == ["127.0.0.2"]
        assert addresses(server, "b.example") == ["127.0.0.3"]
        answer = DNSResolver([(server.address, server.port)]).resolve("a.example", "A")
        assert answer.ttl == 5


def test_what_is_written_into_the_file_is_answered_next(tmp_path: Path):
    zone = tmp_path / "zone"
    zone.write_text("")
    with ZoneFileServer(zone) as server:
        assert addresses(server, "a.example") == []
        zone.write_text(ZONE)
        assert addresses(server, "a.example") == ["127.0.0.2"]


def test_a_file_that_has_become_none_is_told_and_the_last_zone_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    zone = tmp_path / "zone"
    zone.write_text(ZONE)
    with ZoneFileServer(zone) as server:
        zone.write_text("nonsense")
        assert addresses(server, "a.example") == ["127.0.0.2"]
    assert f"{zone} is not read: 'nonsense' is not a record" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["nonsense", "a.example. A 1.2.3", "a.example. XYZ 1", None])
def test_the_command_tells_in_one_line_what_it_cannot_serve(tmp_path: Path, text: str | None):
    zone = tmp_path / "zone"
    if text is not None:
        zone.write_text(text)
    program = ROOT / "demonstration" / "name_server.py"
    done = subprocess.run(
        [sys.executable, str(program), str(zone)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("name_server.py: ")
    assert done.stderr.count("\n") == 1
