"""The pages that list and set, in Chromium: readable by everybody, in any look, and without script.

With XHMTP_SCREENSHOTS=DIRECTORY, screenshots of every page in every look are left there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.fakes.web_server import WebServer, always
from tests.live.delivery import name_server
from tests.live.pages import (
    BRIEFLY,
    EVERY,
    ONCE,
    axe_violations,
    chromium,
    cookie_of,
    hosts_of,
    log_in,
    look_at,
    sideways,
    url,
)
from tests.live.servers import AgentServer, running
from xhmtp_wsgi import preferences
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.access_code import new_code, new_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.notification import Notification
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.recipient import filters, mailbox, taking
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS, Check
from xhmtp_wsgi.sender import author_keys
from xhmtp_wsgi.sender.injection import submit

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("pages")]

BOB = Endpoint.parse("bob@b.example")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
SIGNED = (Check("signature", PASS, "x"), Check("agent", PASS, "x"), Check("origin", PASS, "x"))
SERVED = (Check("origin", PASS, "x"), Check("agent", PASS, "x"), Check("signature", NONE, "x"))
DOUBTED = (Check("origin", PASS, "x"), Check("agent", FAIL, "x"), Check("signature", NONE, "x"))
CAME = [
    ("Alice Liddell <alice@a.example>", "Lunch on Thursday?", SIGNED),
    ("Cheryl <cheryl@c.example>", "Minutes of the meeting, and what is left to do", SERVED),
    ("שרה לוי <sarah@a.example>", "שלום, מה שלומך?", SIGNED),
    ("محمد <m@c.example>", "مرحبا (hello) 123", SERVED),
    ("王小明 <wang@a.example>", "關於下週的會議", SIGNED),
    ("Your Bank <service@bank.example>", "<script>alert(1)</script> Your account", DOUBTED),
    ("", "A word in private", SERVED),
    ("Donaudampfschifffahrtsgesellschaft <d@a.example>", "Grundstücksverkehrsgenehmigungs" * 3,
     SIGNED),
]  # fmt: skip


@dataclass
class Site:
    """bob's site, with a browser before it."""

    server: AgentServer
    agent: Agent
    browser: Any

    def page(self, **options: Any) -> Any:
        """bob's inbox, in a browser in which he has a session."""
        context = self.browser.new_context(**options)
        context.add_cookies([cookie_of(self.server, self.agent, "bob@b.example")])
        page = context.new_page()
        page.goto(self.url("inbox"))
        return page

    def url(self, *path: str, query: str = "") -> str:
        """The URL of one of bob's pages."""
        return url(self.server, "bob@b.example", *path, query=query)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("pages")
    with name_server() as dns:
        b = AgentServer(
            "b.example", "127.0.0.1", directory / "b", dns.port,
            options=("--threads", "4"), extra_settings='site_name = "Bob & Sons"\npage_size = 9',
        )  # fmt: skip
        dns.set_zone(b.records())
        agent = b.agent()
        agent.accounts.add(BOB, "builder builder")
        fill(agent)
        with running(b), chromium(hosts_of(b)) as browser:
            yield Site(b, agent, browser)
        agent.database.close()


def fill(agent: Agent) -> None:
    """What bob has got, sent and chosen."""
    for number in range(4):
        take(agent, "Alice Liddell <alice@a.example>", f"Older {number}", SIGNED, seen=True)
    for sender, subject, checks in CAME:
        take(agent, sender, subject, checks)
    for number in range(2):
        take(agent, "Spam <x@c.example>", f"Buy {number}", DOUBTED, quarantined=True)
    found = mailbox.listed(agent.database, BOB, mailbox.Wanted(), limit=100)
    chosen = [one.identifier for one in found]
    mailbox.set_starred(agent.database, BOB, chosen[3:5], 1.8e9, starred=True)
    mailbox.move(agent.database, BOB, chosen[-2:], "Friends & family")
    message = b"From: bob@b.example\r\nTo: Alice <alice@a.example>\r\nSubject: Lunch?\r\n\r\nx"
    submit(agent, [message], "bob@b.example", None)
    filters.add(agent.database, "b.example", Action.QUARANTINE, "anonymous")
    filters.add(agent.database, str(BOB), Action.REFUSE, "*@bank.example", "subject", "*account*")
    agent.accounts.add_token(BOB, "newsboat at home")
    author_keys.add_key(agent.database, BOB, PublicKey.parse(KEY), 1.8e9)


def take(
    agent: Agent,
    sender: str,
    subject: str,
    checks: tuple[Check, ...],
    *,
    seen: bool = False,
    quarantined: bool = False,
) -> None:
    """Something comes for bob."""
    lines = [f"From: {sender}"] if sender else []
    block = "\r\n".join([*lines, f"Subject: {subject}", ""])
    message = f"http://bob%40b.example:{new_code()}@server.a.example/x/alice/{new_identifier()}"
    body = urlencode({"url": message, "headers": block}).encode()
    notification = Notification.parse(body, recipient=BOB, header_limit=10000)
    identifier = taking.take(
        agent.database, BOB, notification, source="192.0.2.1", checks=checks, now=agent.clock(),
        quarantined=quarantined,
    )  # fmt: skip
    if seen and identifier is not None:
        mailbox.set_seen(agent.database, BOB, [identifier], agent.clock(), seen=True)


PAGES = {
    "inbox": ("inbox", "?note=starred"),
    "older": ("inbox", "?before=4"),
    "folder": ("folder", "?name=Friends+%26+family"),
    "empty": ("folder", "?name=trash"),
    "starred": ("starred", ""),
    "search": ("search", "?q=lunch"),
    "nothing-found": ("search", "?q=xyzzy"),
    "quarantine": ("quarantine", ""),
    "settings": ("settings", "?note=saved"),
    "password": ("settings/password", ""),
    "feeds": ("settings/feeds", ""),
    "filters": ("settings/filters", ""),
    "keys": ("settings/keys", ""),
    "not-found": ("nowhere", ""),
}


SEEN_IN = {"inbox": EVERY, "older": ONCE, "empty": ONCE, "nothing-found": ONCE, "not-found": ONCE}


def test_every_page_is_readable_in_every_look(site: Site):
    page = site.page()
    wrong = []
    for name, (path, query) in PAGES.items():
        page.goto(site.url(*path.split("/"), query=query))
        wrong += look_at(page, name, looks=SEEN_IN.get(name, BRIEFLY))
    assert wrong == []


def test_what_forms_answer_is_readable_too(site: Site):
    page, wrong = site.page(), []
    page.goto(site.url("settings", "feeds"))
    page.get_by_label("Which reader is it for?").fill("another reader")
    page.get_by_role("button", name="Make an address").click()
    wrong += look_at(page, "feed-made", looks=ONCE)
    page.goto(site.url("settings", "filters"))
    page.get_by_label("Address or domain").fill("not an address")
    page.get_by_role("button", name="Add the rule").click()
    page.wait_for_selector("text=is not an address")
    wrong += look_at(page, "filter-wrong", looks=ONCE)
    page.goto(site.url("settings", "password"))
    for name in ("Your password now", "New password", "New password, once more"):
        page.get_by_label(name, exact=True).fill("wrong wrong")
    page.get_by_role("button", name="Change it").click()
    page.wait_for_selector("text=That is not your password")
    wrong += look_at(page, "password-wrong", looks=ONCE)
    page.goto(site.url("quarantine"))
    page.locator(".pick").first.click()
    page.get_by_role("button", name="Delete for good").click()
    page.wait_for_selector("text=Delete this message for good?")
    wrong += look_at(page, "sure", looks=ONCE)
    page.goto(site.url("inbox"))
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("text=You are logged out")
    wrong += look_at(page, "login", looks=ONCE)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("text=That password is not right")
    wrong += look_at(page, "login-wrong", looks=ONCE)
    assert wrong == []


def test_what_cannot_be_read_is_found(site: Site):
    """The control: what the other tests look for, they would find."""
    page = site.page()
    page.evaluate(
        """document.querySelector("main").innerHTML = `<h1>x</h1><p><font color="#bbb">pale</font>
        <input><img src="data:,"></p><p><button></button><button></button></p><p id="w">wide</p>`;
        for (const one of document.querySelectorAll("main button")) {
          Object.assign(one.style, {minHeight: 0, height: "9px", width: "9px", padding: 0});
        }
        document.querySelector("#w").style.width = "5000px";"""
    )
    found = {line.partition(":")[0] for line in axe_violations(page)}
    assert {"color-contrast", "label", "image-alt", "target-size"} <= found
    assert sideways(page) > 0


def test_a_page_from_right_to_left_is_as_readable(site: Site):
    """As a site's own templates make it, in another language."""
    page = site.page()
    for path in ("inbox", "settings/filters"):
        page.goto(site.url(*path.split("/")))
        page.evaluate("document.documentElement.dir = 'rtl'")
        name = f"right-to-left-{path.replace('/', '-')}"
        assert look_at(page, name, looks=ONCE) == []


def test_the_keyboard_is_enough(site: Site):
    page = site.page()
    page.keyboard.press("Tab")
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.textContent") == "Skip to the content"
    seen = page.evaluate(f"{focused}.getBoundingClientRect().top")
    assert seen >= 0, "it is to be seen while it has the focus"
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "main"
    page.keyboard.press("Tab")
    for _ in range(40):
        outline = page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert outline != "none", page.evaluate(f"{focused}.outerHTML")
        if page.evaluate(f"{focused}.matches('.line a')"):
            break
        page.keyboard.press("Tab")
    first = page.evaluate(f"{focused}.href")
    page.keyboard.press("j")
    assert page.evaluate(f"{focused}.href") != first
    page.keyboard.press("k")
    assert page.evaluate(f"{focused}.href") == first
    page.keyboard.press("x")
    assert page.locator(".pick input:checked").count() == 1
    assert page.locator(".all input").evaluate("one => one.indeterminate")
    page.locator(".all input").check()
    assert page.locator(".pick input:checked").count() == page.locator(".line").count()


def test_enter_in_a_list_changes_nothing(site: Site):
    """A form's first button is pressed by Enter, whatever field has the focus."""
    page = site.page()
    before = page.url
    for selector in (".pick input", "#folder"):
        page.locator(selector).first.focus()
        page.keyboard.press("Enter")
        assert page.url == before


@pytest.mark.parametrize("script", [True, False])
def test_everything_works_with_script_and_without(site: Site, script: bool):
    subject = f"To be handled {script}"
    take(site.agent, "Alice <alice@a.example>", subject, SIGNED)
    take(site.agent, "Spam <x@c.example>", f"Good after all {script}", DOUBTED, quarantined=True)
    page = site.browser.new_context(java_script_enabled=script).new_page()
    log_in(page, site.server, "bob@b.example", "builder builder")
    assert page.locator(".all").count() == (1 if script else 0)
    utc = page.locator("time").first.inner_text().endswith("UTC")
    assert utc is not script

    def line() -> Any:
        return page.locator(".line", has_text=subject)

    line().get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("Starred.")
    page.get_by_role("link", name="Starred").click()
    line().locator(".pick").click()
    page.get_by_label("Folder to move to").fill("Kept")
    page.get_by_role("button", name="Move").click()
    page.locator(".places a", has_text="Kept").click()
    expect(line()).to_have_count(1)
    page.get_by_label("Search your messages").fill("hand")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=hand")
    expect(line()).to_have_count(1)
    page.locator(".places a", has_text="Quarantine").click()
    released = page.locator(".line", has_text=f"Good after all {script}")
    released.locator(".pick").click()
    page.get_by_role("button", name="Release into the inbox").click()
    # Else the next click may leave the page before the form was sent.
    expect(released).to_have_count(0)
    page.locator(".places a", has_text="Inbox").click()
    expect(released).to_have_count(1)
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login*")
    page.goto(site.url("inbox"))
    assert page.url == site.url("login")


def test_another_sites_page_changes_nothing(site: Site):
    """In a browser that has kept bob's password, and sends it along for whoever asks."""
    context = site.browser.new_context(
        http_credentials={"username": "bob@b.example", "password": "builder builder"}
    )
    page = context.new_page()
    page.goto(f"http://{site.server.host}:{site.server.port}/")
    feed = site.url().removesuffix("/")
    page.evaluate("(url) => fetch(url, {headers: {Accept: 'application/rss+xml'}})", feed)
    page.goto(site.url("settings"))
    assert page.url == site.url("settings"), "he is known by it"
    token = page.locator("input[name=token]").first.get_attribute("value")
    form = f"""<form method="post" action="{site.url("settings")}">
        <input name="token" value="{token}"><input name="keep" value="always">
        <input name="signature" value="mallory was here"></form>
        <script>document.forms[0].submit()</script>"""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
    with WebServer(always(head % len(form.encode()) + form.encode())) as evil:
        page.goto(f"http://127.0.0.1:{evil.port}/", wait_until="commit")
        page.wait_for_url(site.url("settings"))
    assert "That is not allowed" in page.inner_text("h1")
    assert preferences.get(site.agent.database, BOB, "signature", "") == ""
    page.goto(site.url("settings"))
    page.get_by_label("Signature").fill("Bob himself")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("text=Saved.")
    assert preferences.get(site.agent.database, BOB, "signature", "") == "Bob himself"
    context.close()


def test_no_script_but_ours_runs_in_a_page(site: Site):
    page = site.page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.evaluate(
        """const one = document.createElement("script");
        one.textContent = "document.title = 'it ran'"; document.body.append(one);"""
    )
    assert page.title() != "it ran"
    assert any("Content Security Policy" in line for line in refused)
    assert page.evaluate("document.cookie") == "", "no script sees the session"
