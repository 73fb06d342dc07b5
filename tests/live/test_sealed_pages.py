"""Sealed messages in Chromium: locked, unlocked, answered; keys that are held; without script.

With XHMTP_SCREENSHOTS=DIRECTORY, screenshots of every page in every look are left there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.live.delivery import name_server
from tests.live.pages import (
    BRIEFLY,
    ONCE,
    chromium,
    cookie_of,
    hosts_of,
    log_in,
    look_at,
    url,
)
from tests.live.servers import AgentServer, running
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity, seal, unseal
from xhmtp_wsgi.recipient import held_keys, inbox
from xhmtp_wsgi.sender import sealing_keys
from xhmtp_wsgi.sender.injection import submit

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("sealed pages")]

BOB, ANN = Endpoint.parse("bob@b.example"), Endpoint.parse("ann@b.example")
PASSWORD = "builder builder"
KEY = Identity.generate()
BODY = "Dear Bob,\r\n\r\nmeet me at the viaduct at noon. Bring the plan.\r\n\r\n-- \r\nAlice\r\n"


@dataclass
class Site:
    """A site of alice, bob and ann, with a browser before it."""

    server: AgentServer
    agent: Agent
    browser: Any

    def url(self, *path: str, query: str = "", of: Endpoint = BOB) -> str:
        """The URL of a page, bob's by default."""
        return url(self.server, str(of), *path, query=query)

    def page(self, of: Endpoint = BOB) -> Any:
        """A browser in which somebody has a session."""
        context = self.browser.new_context()
        context.add_cookies([cookie_of(self.server, self.agent, str(of))])
        return context.new_page()


def sealed(number: int, subject: str, *recipients: Identity, more: str = "") -> bytes:
    """A message as alice's own program hands it in."""
    message = (
        f"From: Alice Liddell <alice@b.example>\r\nTo: Bob <bob@b.example>\r\n"
        f"Subject: {subject}\r\nMessage-ID: <m{number}@b.example>\r\n{more}\r\n{BODY}"
    )
    octets = b"".join(seal([message.encode()], [one.recipient for one in recipients or (KEY,)]))
    head = (
        f"From: alice@b.example\r\nTo: bob@b.example\r\nMessage-ID: <m{number}@b.example>\r\n"
        "Content-Type: application/age\r\n\r\n"
    )
    return head.encode() + octets


MESSAGES = (
    sealed(1, "The lamplighter"),
    sealed(2, "Re: The lamplighter", more="References: <m1@b.example>\r\n"),
    sealed(3, "For another", Identity.generate()),
    b"From: Alice <alice@b.example>\r\nTo: bob@b.example\r\nSubject: In the open\r\n\r\nHello.\r\n",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("sealed-pages")
    with name_server() as dns:
        b = AgentServer("b.example", "127.0.0.1", directory / "b", dns.port,
                        options=("--threads", "4"))  # fmt: skip
        dns.set_zone(b.records())
        agent = b.agent()
        for name in ("alice", "bob", "ann"):
            agent.accounts.add(Endpoint.parse(f"{name}@b.example"), PASSWORD)
        held_keys.give(agent.database, BOB, KEY, PASSWORD, agent.clock())
        sealing_keys.add(agent.database, BOB, KEY.recipient, agent.clock(), replace=False)
        for message in MESSAGES:
            submit(agent, [message], "alice@b.example", None)
            submit(agent, [message.replace(b"bob@", b"ann@").replace(b"<m", b"<n")],
                   "alice@b.example", None)  # fmt: skip
        with running(b):
            b.must("xhmtp-notify")
            with chromium(hosts_of(b)) as browser:
                yield Site(b, agent, browser)
        agent.database.close()


def identifier(site: Site, number: int, of: Endpoint = BOB) -> str:
    """The notice of the message with that number."""
    found = inbox.page(site.agent.database, of, newest=100, limit=100)
    name = b"<%s%d@" % (b"m" if of == BOB else b"n", number)
    return next(one.identifier for one in found if name in one.headers)


def unlock(page: Any) -> None:
    page.get_by_label("Your password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Unlock", exact=True).click()
    page.wait_for_selector("text=Unlocked: your sealed messages are shown")


def test_every_page_of_what_is_sealed_is_readable_in_every_look(site: Site):
    page, wrong = site.page(), []
    one, other, another = (identifier(site, number) for number in (1, 2, 3))

    def look(name: str, looks: Any = BRIEFLY) -> None:
        nonlocal wrong
        wrong += look_at(page, f"sealed-{name}", looks=looks)

    page.goto(site.url("message", one))
    look("message-locked")
    page.goto(site.url("inbox"))
    look("inbox-locked", ONCE)
    page.goto(site.url("message", one, "source"))
    look("unlock", ONCE)
    page.get_by_label("Your password", exact=True).fill("wrong")
    page.get_by_role("button", name="Unlock", exact=True).click()
    page.wait_for_selector("text=That password opens none of your keys")
    look("unlock-wrong", ONCE)
    page.goto(site.url("message", one))
    unlock(page)
    page.goto(site.url("message", other))
    page.goto(site.url("message", one))
    assert "meet me at the viaduct" in page.inner_text(".letter")
    look("message-unlocked")
    page.goto(site.url("message", another))
    page.wait_for_selector("text=None of the keys that are held here opens it")
    look("another's", ONCE)
    page.goto(site.url("inbox"))
    assert "The lamplighter" in page.inner_text("main")
    look("inbox-unlocked", ONCE)
    page.goto(site.url("search", query="?q=viaduct"))
    assert page.locator(".line").count() == 2
    look("search", ONCE)
    page.goto(site.url("message", one))
    page.get_by_role("button", name="Reply", exact=True).click()
    page.wait_for_url("**/compose/*")
    look("reply")
    page.get_by_label("To", exact=True).fill("nobody-with-a-key@c.example, ann@b.example")
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_selector("text=These cannot get it sealed")
    look("refused")
    page.get_by_label("Seal it").select_option("known")
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_selector("text=These would get it in the clear")
    look("in-the-clear", ONCE)
    page.goto(site.url("settings", "sealing"))
    look("settings")
    page.get_by_role("button", name="Lock", exact=True).click()
    page.wait_for_selector("text=Locked: your sealed messages are shown to nobody")
    look("settings-locked", ONCE)
    page.goto(site.url("drafts"))
    assert "Sealed draft" in page.inner_text("main")
    look("drafts-locked", ONCE)
    assert wrong == []


def test_a_key_is_made_and_kept_with_words_that_are_readable(site: Site):
    page, wrong = site.page(ANN), []
    page.goto(site.url("message", identifier(site, 1, ANN), of=ANN))
    page.wait_for_selector("text=This site does not hold a key of yours")
    wrong += look_at(page, "sealed-no-key", looks=BRIEFLY)
    with page.expect_navigation():
        page.get_by_role("link", name="Let this site open sealed messages for you").click()
    wrong += look_at(page, "sealed-settings-none", looks=ONCE)
    page.locator("#make-password").fill("not hers")
    page.get_by_role("button", name="Make a key").click()
    page.wait_for_selector("text=That is not your password")
    wrong += look_at(page, "sealed-settings-wrong", looks=ONCE)
    page.locator("#make-password").fill(PASSWORD)
    page.get_by_role("button", name="Make a key").click()
    page.wait_for_selector("text=Keep a copy of it now")
    text = page.get_by_label("Your secret key").input_value()
    wrong += look_at(page, "sealed-key-made", looks=BRIEFLY)
    found = re.search(r"AGE-SECRET-KEY-1\w+", text)
    assert found is not None
    identity = Identity.parse(found[0])
    assert sealing_keys.recipients_of(site.agent.database, ANN) == (identity.recipient,)
    with page.expect_navigation():
        page.get_by_role("link", name="I have a copy").click()
    assert "AGE-SECRET-KEY-1" not in page.content()
    assert wrong == []


@pytest.mark.parametrize("script", [True, False])
def test_it_is_unlocked_read_and_locked_with_script_and_without(site: Site, script: bool):
    context = site.browser.new_context(java_script_enabled=script, accept_downloads=True)
    page = context.new_page()
    log_in(page, site.server, "bob@b.example", PASSWORD)
    page.goto(site.url("message", identifier(site, 1)))
    assert "viaduct" not in page.content()
    with page.expect_download() as waiting:
        page.get_by_text("Open it without this site").click()
        page.get_by_role("link", name="Save the sealed message").click()
    saved = waiting.value
    assert saved.suggested_filename.endswith(".age")
    assert b"viaduct" in b"".join(unseal([saved.path().read_bytes()], [KEY]))
    unlock(page)
    assert "meet me at the viaduct" in page.inner_text(".letter")
    for cookie in context.cookies():
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
    page.get_by_role("button", name="Lock sealed messages").click()
    page.wait_for_selector("text=Locked: your sealed messages are shown to nobody")
    page.goto(site.url("message", identifier(site, 1)))
    assert "viaduct" not in page.content()
    # Nothing of it is in the browser's cache either.
    page.go_back()
    page.go_back()
    assert "viaduct" not in page.content()
    context.close()
