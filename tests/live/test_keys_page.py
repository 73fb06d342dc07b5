"""The page of published keys, in Chromium: readable in any look, and without script."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.delivery import name_server
from tests.live.pages import BRIEFLY, ONCE, chromium, cookie_of, hosts_of, look_at, url
from tests.live.servers import AgentServer, running
from tests.test_openpgp_key import KEY, armoured, packet
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity
from xhmtp_wsgi.sender import sealing_keys

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("keys_page")]

WHO = "bob@b.example"
BOB = Endpoint.parse(WHO)
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
OPENPGP = armoured(
    KEY + packet(13, b"Bob <bob@b.example>") + packet(13, "שרה <sarah@c.example>".encode())
).decode()


@dataclass
class Site:
    """bob's site, which hands out OpenPGP keys, with a browser before it."""

    server: AgentServer
    agent: Agent
    browser: Any

    def page(self, **options: Any) -> Any:
        """His page of keys."""
        context = self.browser.new_context(**options)
        context.add_cookies([cookie_of(self.server, self.agent, WHO)])
        page = context.new_page()
        page.goto(url(self.server, WHO, "settings", "keys"))
        return page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("keys_page")
    with name_server() as dns:
        b = AgentServer("b.example", "127.0.0.1", directory / "b", dns.port)
        b.settings.write_text(b.settings.read_text() + "web_key_directory = true\n")
        dns.set_zone(b.records())
        agent = b.agent()
        agent.accounts.add(BOB, "builder builder")
        with running(b), chromium(hosts_of(b)) as browser:
            yield Site(b, agent, browser)
        agent.database.close()


def part(page: Any, heading: str) -> Any:
    """One of the three parts of the page, by its heading."""
    return page.get_by_role("region", name=heading)


SIGNING = "Keys that you sign with"
SEALING = "Keys that messages to you are sealed to"
OPENPGP_PART = "Your OpenPGP key"


def test_keys_are_published_and_taken_back_without_script_and_readably(site: Site):
    page, wrong = site.page(java_script_enabled=False), []
    looked = site.page()
    wrong += look_at(looked, "keys-none", looks=ONCE)
    first, second = (str(Identity.generate().recipient) for _ in range(2))
    for heading, label, text in (
        (SIGNING, "The line in your .pub file", SSH),
        (SEALING, "The public key", f"# mine\n{first}"),
        (OPENPGP_PART, "The public key", OPENPGP),
        (SEALING, "The public key", second),
    ):
        part(page, heading).get_by_label(label, exact=True).fill(text)
        with page.expect_navigation():
            part(page, heading).get_by_role("button", name="Publish it").click()
        assert "The key is published" in page.inner_text("[role=status]")
    looked.reload()
    wrong += look_at(looked, "keys-some", looks=BRIEFLY)
    assert "/.well-known/openpgpkey/hu/" in part(looked, OPENPGP_PART).inner_text()
    hybrid = Identity.generate(post_quantum=True).recipient
    part(page, SEALING).get_by_label("The public key").fill(str(hybrid))
    part(page, SEALING).get_by_label("Remove those that are there").check()
    with page.expect_navigation():
        part(page, SEALING).get_by_role("button", name="Publish it").click()
    assert sealing_keys.recipients_of(site.agent.database, BOB) == (hybrid,)
    looked.reload()
    wrong += look_at(looked, "keys-post-quantum", looks=ONCE)
    for heading in (SIGNING, SEALING, OPENPGP_PART):
        with page.expect_navigation():
            part(page, heading).get_by_role("button", name="Remove the key").click()
        assert "no longer published" in page.inner_text("[role=status]")
        assert "You publish none" in part(page, heading).inner_text()
    assert wrong == []


def test_what_is_wrong_is_told_where_it_is_and_a_secret_is_not_shown_again(site: Site):
    page, wrong = site.page(), []
    secret = Identity.generate()
    part(page, SEALING).get_by_label("The public key").fill(
        f"# {secret.recipient}\n{secret.text()}"
    )
    with page.expect_navigation():
        part(page, SEALING).get_by_role("button", name="Publish it").click()
    told = part(page, SEALING).get_by_role("alert").inner_text()
    assert told.startswith("That is a secret key: keep it to yourself.")
    assert secret.text() not in page.content()
    field = part(page, SEALING).get_by_label("The public key")
    assert field.evaluate("one => one === document.activeElement"), "there it goes on"
    described = field.evaluate(
        "one => one.getAttribute('aria-describedby').split(' ')"
        ".map(id => document.getElementById(id).textContent).join(' ')"
    )
    assert told in described
    wrong += look_at(page, "keys-secret", looks=BRIEFLY)
    part(page, OPENPGP_PART).get_by_label("The public key").fill("hello")
    with page.expect_navigation():
        part(page, OPENPGP_PART).get_by_role("button", name="Publish it").click()
    told = part(page, OPENPGP_PART).get_by_role("alert").inner_text()
    assert told.startswith("That cannot be published")
    assert page.get_by_role("alert").count() == 1
    wrong += look_at(page, "keys-wrong", looks=ONCE)
    assert wrong == []
