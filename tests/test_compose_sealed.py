"""Writing a message on the page that is to be sealed: what is asked first, and what is not kept."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fakes.browser import Browser
from tests.sealed_world import new_key, opened, policy, sign
from tests.test_compose_pages import LETTER, browser_of, kept, sent_octets, text, upload
from tests.world import ALICE, World
from xhmtp_wsgi import preferences
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import is_sealed

SECRET: Mapping[str, str] = {
    "to": "bob@b.example",
    "subject": "the lamplighter",
    "text": "Meet at the viaduct.",
}


@pytest.fixture
def signing(sqlite_world: World) -> World:
    """Both domains sign; cheryl is there too."""
    sign(sqlite_world)
    sqlite_world.b.agent.accounts.add(Endpoint.parse("cheryl@b.example"), "password of hers")
    return sqlite_world


@pytest.fixture
def alice(signing: World) -> Browser:
    return browser_of(signing)


def files_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_what_is_sent_sealed_leaves_no_word_behind(signing: World, alice: Browser, tmp_path: Path):
    bob = new_key(signing.b.agent, "bob@b.example")
    alice.get("compose")
    typed = {**SECRET, "seal": "always"}
    upload(alice, "send", [("aqueduct.txt", b"the aqueduct too")], **typed)
    assert alice.path.partition("?")[0].rpartition("/")[0].endswith("/sent"), text(alice)
    (octets,) = sent_octets(signing)
    assert is_sealed(octets)
    inside = opened(octets, bob)
    assert b"viaduct" in inside
    assert b"aqueduct.txt" in inside
    dump = files_of(tmp_path)
    assert b"alice@a.example" in dump
    for word in (b"lamplighter", b"viaduct", b"aqueduct"):
        assert word not in dump


def test_a_recipient_without_a_key_is_named_and_nothing_is_sent_or_kept(
    signing: World, alice: Browser
):
    alice.get("compose")
    alice.submit("compose", ("do", "send"), **{**SECRET, "seal": "always"})
    assert alice.answer.status_int == 422
    assert "These cannot get it sealed: bob@b.example" in text(alice)
    assert "in this page alone" in text(alice)
    assert kept(signing) == []
    assert sent_octets(signing) == []
    new_key(signing.b.agent, "bob@b.example")
    signing.clock.now += 600
    alice.submit("compose", ("do", "send"))
    assert is_sealed(sent_octets(signing)[0]), "what was typed was still in the page"


def test_who_would_get_it_in_the_clear_is_asked_about_first(signing: World, alice: Browser):
    new_key(signing.b.agent, "bob@b.example")
    alice.get("compose")
    typed = {**SECRET, "to": "bob@b.example, cheryl@b.example", "seal": "known"}
    alice.submit("compose", ("do", "send"), **typed)
    assert alice.answer.status_int == 422
    assert "These would get it in the clear" in text(alice)
    assert "cheryl@b.example" in text(alice)
    assert sent_octets(signing) == []
    alice.submit("compose", ("do", "send"), in_clear="yes")
    assert len(sent_octets(signing)) == 1


def test_a_changed_key_is_used_when_the_box_is_ticked(signing: World, alice: Browser):
    new_key(signing.b.agent, "bob@b.example")
    alice.get("compose")
    alice.submit("compose", ("do", "send"), **{**SECRET, "seal": "always"})
    new = new_key(signing.b.agent, "bob@b.example")
    signing.clock.now += 2 * 86400
    alice.get("compose")
    alice.submit("compose", ("do", "send"), **{**SECRET, "seal": "always", "text": "again"})
    assert alice.answer.status_int == 422
    assert "have changed" in text(alice)
    alice.submit("compose", ("do", "send"), accept_keys="yes")
    assert opened(sent_octets(signing)[0], new).endswith(b"again\r\n")


def test_pressed_twice_it_is_sent_once(signing: World, alice: Browser):
    new_key(signing.b.agent, "bob@b.example")
    alice.get("compose")
    form = alice.page.form("compose", ("do", "send"))
    typed = {**SECRET, "seal": "always"}
    fields = [(name, typed.get(name, value)) for name, value in form.fields]
    for _ in range(2):
        alice.post(form.action, [*fields, ("do", "send")])
    assert len(sent_octets(signing)) == 1


def test_where_the_domain_demands_it_there_is_nothing_to_choose(signing: World, alice: Browser):
    policy(signing, "always")
    new_key(signing.b.agent, "bob@b.example")
    alice.get("compose")
    assert "your domain sends nothing that is not" in text(alice)
    alice.submit("compose", ("do", "send"), **SECRET)
    assert is_sealed(sent_octets(signing)[0])


def test_her_own_choice_is_what_the_form_says_is_settled(signing: World, alice: Browser):
    alice.get("compose")
    assert "As settled: No" in text(alice)
    preferences.put(signing.a.agent.database, ALICE, "seal", "always")
    alice.get("compose")
    assert "As settled: For everybody" in text(alice)


def test_what_is_chosen_for_good_and_for_one_message_is_said_in_the_same_words(alice: Browser):
    alice.get("settings/sealing")
    for_good = re.findall(r'name="seal" value="(\w+)"[^>]*> ([^<]+)<', alice.answer.text)
    alice.get("compose")
    for_one = re.findall(r'<option value="(\w+)"[^>]*>([^<]+)<', alice.answer.text)
    assert [value for value, _ in for_one] == ["never", "known", "always"]
    assert for_good == for_one


def test_a_draft_is_kept_where_nothing_is_to_be_sealed(signing: World, alice: Browser):
    alice.get("compose")
    alice.submit("compose", ("do", "save"), **LETTER)
    assert len(kept(signing)) == 1
