"""Two people write to each other with browsers: two sites under gunicorn, with script and without.

Also strangers' mail in a real page, and what is wrong with any page in any look; screenshots are
left in the directory of the test, or in XHMTP_SCREENSHOTS.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demonstration.name_server import NameServer
from tests.fakes.web_server import CREATED, WebServer, always
from tests.live.delivery import name_server
from tests.live.pages import chromium, hosts_of, log_in, look_at, url
from tests.live.servers import AgentServer, running
from tests.live.test_browser import HOSTILE
from xhmtp_wsgi import preferences
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import filters, mailbox
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.mailbox import Wanted
from xhmtp_wsgi.sender.injection import submit
from xhmtp_wsgi.web.rendering import PAGE_HEADERS

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("end_to_end")]

ALICE, BOB = Endpoint.parse("alice@a.example"), Endpoint.parse("bob@b.example")
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 2000


@dataclass
class Sites:
    """alice's site and bob's, and a browser before them."""

    a: AgentServer
    b: AgentServer
    browser: Any
    site_log: Path

    def notify(self) -> None:
        """Both agents tell whoever is to be told."""
        self.a.must("xhmtp-notify")
        self.b.must("xhmtp-notify")

    def alice(self, **options: Any) -> Any:
        """A page of alice's browser, logged in."""
        page = self.browser.new_context(**options).new_page()
        log_in(page, self.a, "alice@a.example", "wonderland")
        return page

    def bob(self, **options: Any) -> Any:
        """A page of bob's."""
        page = self.browser.new_context(**options).new_page()
        log_in(page, self.b, "bob@b.example", "builder builder")
        return page


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    directory = tmp_path_factory.mktemp("end_to_end")
    with name_server() as dns:
        a, b, log = _servers(directory, dns)
        with running(a, b), chromium(hosts_of(a, b)) as browser:
            yield Sites(a, b, browser, log)


def _servers(directory: Path, dns: NameServer) -> tuple[AgentServer, AgentServer, Path]:
    log = directory / "site.log"
    a = AgentServer("a.example", "127.0.0.1", directory / "a", dns.port, options=("--threads", "4"))
    b = AgentServer(
        "b.example", "127.0.0.2", directory / "b", dns.port, options=("--threads", "4"),
        application="tests.live.cookie_site:application",
        environment={"COOKIE_SITE_LOG": str(log)},
    )  # fmt: skip
    for server, who, password in ((a, ALICE, "wonderland"), (b, BOB, "builder builder")):
        with server.settings.open("a") as settings:
            settings.write("reading = true\n")
        agent = server.agent()
        agent.accounts.add(who, password)
        agent.database.close()
    dns.set_zone(a.records() + b.records())
    return a, b, log


def write(page: Any, subject: str, text: str, to: str, *files: Path) -> None:
    """Writes a message and sends it."""
    page.get_by_role("link", name="Write", exact=True).click()
    page.get_by_label("To", exact=True).fill(to)
    page.get_by_label("Subject").fill(subject)
    page.get_by_label("Text").fill(text)
    if files:
        page.get_by_label("Attach files").set_input_files([str(file) for file in files])
    page.get_by_role("button", name="Send").click()
    page.get_by_text("Sent. Each recipient's agent is being told.").wait_for()


def open_message(page: Any, subject: str) -> None:
    """Goes to the inbox and opens a message."""
    page.get_by_role("link", name="Inbox").click()
    page.locator(".line", has_text=subject).get_by_role("link").click()
    page.get_by_role("heading", name=subject, level=1).wait_for()


@pytest.mark.parametrize("script", [False, True], ids=["without script", "with script"])
def test_two_people_write_to_each_other(sites: Sites, tmp_path: Path, script: bool):
    mark = "scripted" if script else "plainly"
    file = tmp_path / f"Grüße {mark}.pdf"
    file.write_bytes(PDF)
    alice, bob = sites.alice(java_script_enabled=script), sites.bob(java_script_enabled=script)

    # bob keeps copies, and has a rule.
    bob.get_by_role("link", name="Settings").click()
    bob.locator("input[name=keep][value=always]").check()
    bob.get_by_role("button", name="Save").click()
    agent = sites.b.agent()
    filters.add(agent.database, str(BOB), Action.QUARANTINE, "*@a.example", "subject", "*offer*")
    agent.database.close()

    # alice writes with something attached; bob opens it, takes the file, and replies.
    write(alice, f"Lunch {mark}", f"Dear Bob,\n\nshall we? zebra{mark}", "bob@b.example", file)
    assert "Waits to be told" in alice.inner_text("main")
    place = alice.url.partition("?")[0]
    sites.notify()
    open_message(bob, f"Lunch {mark}")
    assert f"shall we? zebra{mark}" in bob.inner_text(".letter")
    assert "sent by the server of a.example" in bob.inner_text("main")
    with bob.expect_download() as downloading:
        bob.get_by_role("link", name=file.name).click()
    assert downloading.value.suggested_filename == file.name
    assert Path(downloading.value.path()).read_bytes() == PDF
    bob.get_by_role("button", name="Reply", exact=True).click()
    quoted = bob.get_by_label("Text").input_value()
    assert f"> shall we? zebra{mark}" in quoted
    bob.get_by_label("Text").fill(f"Gladly.{quoted}")
    bob.get_by_role("button", name="Send").click()
    bob.get_by_text("Sent. Each recipient's agent is being told.").wait_for()
    sites.notify()

    # alice sees that he has fetched it, and reads what he answered, below what she wrote.
    alice.goto(place)
    assert "Fetched" in alice.inner_text(".recipients")
    open_message(alice, f"Re: Lunch {mark}")
    assert "Gladly." in alice.inner_text(".letter")
    earlier = alice.get_by_role("navigation", name="Earlier in this conversation")
    assert f"Lunch {mark}" in earlier.inner_text()

    # She withdraws another before he opens it.
    write(alice, f"Oops {mark}", "not for you", "bob@b.example")
    sites.notify()
    alice.get_by_role("link", name="Withdraw it").click()
    alice.get_by_role("button", name="Withdraw it").click()
    alice.get_by_text("Withdrawn: nobody can fetch it any more.").wait_for()
    open_message(bob, f"Oops {mark}")
    assert "Its sender has withdrawn it" in bob.inner_text("main")
    assert "not for you" not in bob.inner_text("main")

    # What his rule keeps apart he releases.
    write(alice, f"An offer {mark}", "cheap", "bob@b.example")
    sites.notify()
    bob.get_by_role("link", name="Quarantine").click()
    bob.get_by_label(f"Choose: An offer {mark}").check()
    bob.get_by_role("button", name="Release into the inbox").click()
    open_message(bob, f"An offer {mark}")

    # Search finds by words of the header, and of the text that was kept.
    for query in (f"lunch {mark}", f"zebra{mark}"):
        bob.get_by_role("searchbox").fill(query)
        bob.get_by_role("button", name="Search").click()
        bob.locator(".line", has_text=f"Lunch {mark}").first.wait_for()
    for page in (alice, bob):
        page.context.close()


def test_what_was_kept_is_read_while_the_sender_is_down_and_the_rest_afterwards(sites: Sites):
    agent = sites.b.agent()
    preferences.put(agent.database, BOB, "keep", "always")
    agent.database.close()
    alice, bob = sites.alice(), sites.bob()
    write(alice, "To be kept", "kept words", "bob@b.example")
    write(alice, "Not yet opened", "late words", "bob@b.example")
    alice.context.close()
    sites.notify()
    open_message(bob, "To be kept")
    sites.a.stop()
    try:
        open_message(bob, "To be kept")
        assert "kept words" in bob.inner_text(".letter")
        assert "This is the copy that is kept here" in bob.inner_text("main")
        open_message(bob, "Not yet opened")
        assert "Its sender's server is not reached" in bob.inner_text("main")
        assert "No copy was kept here" in bob.inner_text("main")
        with bob.expect_navigation():
            bob.get_by_role("button", name="Try again").click()
        assert "Its sender's server is not reached" in bob.inner_text("main")
    finally:
        sites.a.start()
    bob.get_by_role("button", name="Try again").click()
    bob.get_by_text("late words").wait_for()
    bob.context.close()


def test_hostile_mail_on_its_page_reaches_nothing(sites: Sites, tmp_path: Path):
    agent = sites.a.agent()
    with WebServer(always(CREATED)) as trap:
        message = HOSTILE.replace("TRAP", f"http://127.0.0.1:{trap.port}").replace("{{", "{")
        message = message.replace("}}", "}").replace("To: bob@a.example", "To: bob@b.example")
        submit(agent, [message.encode()], "alice@a.example", None)
        agent.database.close()
        sites.notify()
        bob = sites.bob()
        bob.goto(f"http://{sites.b.host}:{sites.b.port}/")
        assert "session=secret-of-the-site" in bob.evaluate("document.cookie")
        identifier = _newest(sites.b, BOB)
        surprises: list[str] = []
        for kind in ("dialog", "popup", "download", "framenavigated"):
            bob.on(kind, lambda _, kind=kind: surprises.append(kind))
        asked: list[str] = []
        bob.on("request", lambda request: asked.append(request.url))
        before = len(sites.site_log.read_text().splitlines())
        answer = bob.goto(url(sites.b, str(BOB), "message", identifier))
        assert answer.status == 200
        bob.wait_for_timeout(1000)
        assert "These words are to be seen." in bob.inner_text(".letter")
        assert "document.title" in bob.title(), "its markup is text"
        assert "secret-of-the-site" not in bob.title()
        bob.screenshot(path=tmp_path / "hostile.png", full_page=True)
        assert surprises == ["framenavigated"], "that of the page itself"
        own = f"http://{sites.b.host}:{sites.b.port}/xhmtp/"
        assert [one for one in asked if not one.startswith((own, "data:"))] == []
        site_was_asked = sites.site_log.read_text().splitlines()[before:]
        assert set(site_was_asked) <= {"/favicon.ico"}
        bob.context.close()
        assert trap.connections == [], "nobody came to the trap"


@pytest.mark.parametrize("guarded", [True, False])
def test_the_pages_policy_alone_holds_and_without_it_the_trap_catches(sites: Sites, guarded: bool):
    """The second line of defence; but for a page that leads on by itself, which no policy stops."""
    with WebServer(always(CREATED)) as trap:
        html = HOSTILE.partition("charset=utf-8\r\n\r\n")[2].partition("--edge")[0]
        html = html.replace('<meta http-equiv="refresh" content="0;url=TRAP/refresh">', "")
        html = html.replace("TRAP", f"http://127.0.0.1:{trap.port}").replace("{{", "{")
        body = html.replace("}}", "}").encode()
        fields = [b"HTTP/1.1 200 OK", b"Content-Type: text/html", b"Content-Length: %d" % len(body)]
        if guarded:
            policy = PAGE_HEADERS["Content-Security-Policy"]
            fields.append(b"Content-Security-Policy: " + policy.encode())
        with WebServer(always(b"\r\n".join(fields) + b"\r\n\r\n" + body)) as server:
            context = sites.browser.new_context()
            page = context.new_page()
            page.on("dialog", lambda dialog: dialog.dismiss())
            page.goto(f"http://127.0.0.1:{server.port}/", wait_until="commit")
            page.wait_for_timeout(1000)
            context.close()
        assert bool(trap.requests) is not guarded


def _newest(server: AgentServer, owner: Endpoint) -> str:
    agent = server.agent()
    try:
        return mailbox.listed(agent.database, owner, Wanted(), limit=1)[0].identifier
    finally:
        agent.database.close()


RICH = """\
From: =?utf-8?q?Alice_Liddell?= <alice@a.example>\r
To: bob@b.example, Carol <carol@c.example>\r
Cc: =?utf-8?b?16nXqNeUINec15XXmQ==?= <sarah@d.example>\r
Subject: The quarterly report, with all its tables and links\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="edge"\r
\r
--edge\r
Content-Type: text/html; charset=utf-8\r
\r
<h1>Report</h1><p>Dear Bob, see <a href="http://reports.example/q3?id=17">the report</a> or
<a href="http://evil.example/">https://bank.example/login</a>.</p>
<img src="http://tracker.example/pixel.gif"><img src="http://x.example/logo.png" alt="our logo">
<ul><li>One<li>Two <b>bold</b> <i>slanted</i></ul>
<table><tr><th>Quarter<th>Sum<tr><td>Q1<td>1,000<tr><td>Q2<td>2,000</table>
<p dir="rtl">שלום בוב, זה הדוח.</p><p>مرحبا</p>
<pre>a line of code that is quite long and has to be broken somewhere on a telephone: 12345</pre>
<blockquote><p>Could you send me the report?</p></blockquote>\r
--edge\r
Content-Type: application/pdf; name="A report with quite a long name, for the third quarter.pdf"\r
Content-Disposition: attachment;\r
 filename="A report with quite a long name, for the third quarter.pdf"\r
\r
%PDF\r
--edge--\r
"""
PLAIN = """\
From: bob@b.example\r
To: alice@a.example, nobody@a.example, eve@nowhere.example\r
Subject: Lunch\r
Message-ID: <lunch@b.example>\r
Content-Type: text/plain; charset=utf-8\r
\r
Dear Alice,\r
\r
see https://example.org/a/page/with/quite/a/long/address?and=a&long=query for the menu.\r
\r
> one\r
> two\r
> three\r
> four\r
\r
-- \r
Bob\r
"""
ANSWER = """\
From: Alice Liddell <alice@a.example>\r
To: bob@b.example\r
Subject: Re: Lunch\r
References: <lunch@b.example>\r
\r
Gladly.\r
"""


def test_every_page_is_right_in_every_look(sites: Sites, tmp_path: Path):
    """axe-core finds nothing, nothing is wider than a telephone; the pictures are for people."""
    agent = sites.a.agent()
    b = sites.b.agent()
    preferences.put(b.database, BOB, "keep", "never")
    preferences.put(b.database, BOB, "signature", "Bob the Builder")
    lunch = submit(b, [PLAIN.encode()], "bob@b.example", None)
    for message in (ANSWER, RICH):
        submit(agent, [message.encode()], "alice@a.example", ["bob@b.example"])
    sites.notify()
    came = mailbox.listed(b.database, BOB, Wanted(), limit=9)
    rich, answer = (
        next(one.identifier for one in came if subject in one.headers)
        for subject in (b"quarterly", b"Re: Lunch\r")
    )
    b.database.close()
    agent.database.close()
    bob = sites.bob()
    directory = Path(os.environ.get("XHMTP_SCREENSHOTS") or tmp_path)
    wrong: list[str] = []

    def look(name: str, *path: str) -> None:
        if path:
            bob.goto(url(sites.b, str(BOB), *path))
        wrong.extend(look_at(bob, name, directory))

    look("message-rich", "message", rich)
    bob.get_by_text("What was checked").click()
    bob.get_by_text("Quoted text").first.click()
    look("message-opened")
    look("message-answer", "message", answer)
    look("sent", "sent")
    look("sent-message", "sent", lunch.identifier)
    look("withdraw", "sent", lunch.identifier, "withdraw")
    bob.goto(url(sites.b, str(BOB), "message", rich))
    with bob.expect_navigation():
        bob.get_by_role("button", name="Forward").click()
    look("compose-forward")
    bob.get_by_label("To", exact=True).fill("nobody@b.example, carol@@c.example")
    with bob.expect_navigation():
        bob.get_by_role("button", name="Send").click()
    look("compose-wrong")
    look("compose", "compose")
    look("drafts", "drafts")
    sites.a.stop()
    try:
        look("message-down", "message", answer)
    finally:
        sites.a.start()
    bob.context.close()
    assert wrong == []
