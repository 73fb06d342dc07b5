"""The name server is down when the site starts: the site does not notice, XHMTP comes with it."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.live.servers import PREFIX, AgentServer, Nsd, running, until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("dns_down")]


def test_the_site_answers_without_dns_and_xhmtp_comes_back_with_it(tmp_path: Path):
    nsd = Nsd(tmp_path)
    b = AgentServer(
        "b.example", "127.0.0.1", tmp_path / "b", nsd.port,
        application="tests.live.flask_site:application",
    )  # fmt: skip
    zones = {"a.example": b.zone(), "b.example": b.zone()}
    feed = f"{b.url}/{PREFIX}/bob@b.example"
    try:
        with running(b):
            with urllib.request.urlopen(b.url, timeout=5) as page:
                assert b"the site's own" in page.read()
            assert _status(feed) == 404, "the prefix is not known: every request is the site's"
            nsd.start(zones)
            until(lambda: _status(feed) == 401, "XHMTP answers without a restart", 60)
            nsd.stop()
            assert _status(feed) == 401, "a prefix that was known stays known"
            b.stop()
            b.start()
            assert _status(feed) == 401, "even over a restart while the DNS is down"
    finally:
        nsd.stop()


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
