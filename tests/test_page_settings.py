"""The pages that set: copies and signature, feed addresses, rules in words, published keys."""

import re
from dataclasses import replace
from random import Random
from xml.etree import ElementTree

import pytest
from webob import Response

from tests.fakes.browser import ACCEPT, Browser
from tests.test_openpgp_key import KEY as KEY_PACKET
from tests.test_openpgp_key import armoured, packet
from tests.test_pages import logged_in, send, subjects
from tests.world import BOB, World, call
from xhmtp_wsgi import XHMTP
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.openpgp_key import MAX_OCTETS, OpenPGPKey
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealing import Identity
from xhmtp_wsgi.recipient import filters, inbox
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.mailbox import INBOX
from xhmtp_wsgi.sender import author_keys, openpgp_keys, sealing_keys

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


@pytest.fixture
def bob(sqlite_world: World) -> Browser:
    """bob's browser, in which he has logged in."""
    return logged_in(sqlite_world)


def test_choices_are_kept(world: World):
    bob = logged_in(world)
    bob.get("settings")
    assert bob.page.form("settings").values("keep") == ["never"]
    bob.submit("settings", keep="known", signature="-- \r\nBob <b>\r\n")
    assert "Saved" in bob.page.text
    assert bob.page.form("settings").values("keep") == ["known"]
    assert bob.page.form("settings").values("signature") == ["-- \nBob <b>"]
    assert bob.submit("settings", keep="sometimes").status_int == 400
    bob.get("settings")
    assert bob.submit("settings", keep="never", signature="x" * 2001).status_int == 400


def test_a_feed_address_is_shown_once_and_works_until_it_is_ended(world: World):
    bob = logged_in(world)
    bob.get("settings/feeds")
    bob.submit("settings/feeds", ("do", "add"), label="my <reader>")
    (address,) = [
        given["value"] for _, given in bob.page.elements if given.get("id") == "feed-address"
    ]
    assert address.startswith("http://server.b.example/in/box/bob%40b.example?token=")
    path = address.removeprefix("http://server.b.example")
    assert call(world.b, path).content_type == "application/rss+xml"
    assert call(world.b, path, headers={"Accept": ACCEPT}).content_type == "application/rss+xml"
    token = path.rpartition("=")[2]
    bob.get("settings/feeds")
    assert "my <reader>" in bob.page.text
    assert token not in bob.answer.text
    bob.submit("settings/feeds", ("do", "end"))
    assert "works no longer" in bob.page.text
    assert call(world.b, path).status_int == 401


def test_a_feed_address_has_a_name(sqlite_world: World, bob: Browser):
    for label in ("", " ", "x" * 101):
        bob.get("settings/feeds")
        assert bob.submit("settings/feeds", ("do", "add"), label=label).status_int == 400
    assert sqlite_world.b.agent.accounts.tokens(BOB) == []


def test_nobody_ends_anothers_feed(sqlite_world: World, bob: Browser):
    cheryl = Endpoint.parse("cheryl@b.example")
    sqlite_world.b.agent.accounts.add(cheryl, "another one")
    sqlite_world.b.agent.accounts.add_token(cheryl, "hers")
    (hers,) = sqlite_world.b.agent.accounts.tokens(cheryl)
    bob.get("settings")
    (token,) = bob.page.form("settings").values("token")
    fields = {"token": token, "do": "end", "feed": str(hers.id)}
    assert bob.post("settings/feeds", fields).status_int == 404
    assert bob.post("settings/feeds", {**fields, "feed": "x"}).status_int == 404
    assert len(sqlite_world.b.agent.accounts.tokens(cheryl)) == 1


def outline(browser: Browser) -> str:
    """The feed's address in an OPML file, which is well-formed."""
    assert browser.answer.content_type == "text/x-opml"
    assert "attachment" in browser.answer.headers["Content-Disposition"]
    root = ElementTree.fromstring(browser.answer.body)
    assert (root.tag, root.get("version")) == ("opml", "2.0")
    (found,) = root.findall("./body/outline")
    assert found.get("type") == "rss"
    return found.get("xmlUrl") or ""


def test_a_reader_is_told_of_the_feed_by_a_file(sqlite_world: World, bob: Browser):
    bob.get("settings/feeds.opml")
    assert outline(bob) == "http://server.b.example/in/box/bob%40b.example"
    bob.get("settings/feeds")
    (token,) = bob.page.form("settings/feeds").values("token")
    bob.post("settings/feeds.opml", {"token": token, "label": "reader"})
    path = outline(bob).removeprefix("http://server.b.example")
    assert call(sqlite_world.b, path).content_type == "application/rss+xml"


def test_where_the_dns_does_not_answer_no_feed_address_is_made(sqlite_world: World, bob: Browser):
    bob.get("settings/feeds")
    sqlite_world.resolver.failing.update({"_xhmtp._tcp.b.example", "_xhmtps._tcp.b.example"})
    assert bob.submit("settings/feeds", ("do", "add"), label="x").status_int == 503
    assert sqlite_world.b.agent.accounts.tokens(BOB) == []


def test_a_page_tells_browsers_of_the_feed(sqlite_world: World, bob: Browser):
    bob.get("inbox")
    found = [given for tag, given in bob.page.elements if given.get("rel") == "alternate"]
    assert [(one["type"], one["href"]) for one in found] == [
        ("application/rss+xml", "/in/box/bob%40b.example")
    ]


RULES = [
    ({"what": "refuse", "whom": "address", "who": " Mallory@Evil.example "},
     ("refuse", "mallory@evil.example", None, None), "Refuse: mallory@evil.example"),
    ({"what": "quarantine", "whom": "domain", "who": "evil.example"},
     ("quarantine", "*@evil.example", None, None),
     "Quarantine: everybody at the domain evil.example"),
    ({"what": "discard", "whom": "below", "who": "*.evil.example"},
     ("discard", "*.evil.example", None, None),
     "Discard: everybody at domains below evil.example"),
    ({"what": "accept", "whom": "anonymous", "who": "ignored"},
     ("accept", "anonymous", None, None), "Let in: whoever does not say who he is"),
    ({"what": "refuse", "whom": "unsigned"},
     ("refuse", "unsigned", None, None), "Refuse: whatever its domain has not signed"),
    ({"what": "quarantine", "whom": "*", "where": "subject", "words": "50% [off] a*b?"},
     ("quarantine", "*", "subject", "*50% [[]off] a[*]b[?]*"),
     "Quarantine: everything, if Subject contains “50% [off] a*b?”"),
]  # fmt: skip


def add_rule(bob: Browser, typed: dict[str, str]) -> Response:
    """bob fills in the form for a rule."""
    bob.get("settings/filters")
    form = bob.page.form("settings/filters", ("do", "add"))
    return bob.post(form.action, {"token": form.values("token")[0], "do": "add", **typed})


def test_a_rule_is_made_of_words_and_told_in_words(sqlite_world: World, bob: Browser):
    for typed, rule, told in RULES:
        add_rule(bob, typed)
        assert "The rule is added" in bob.page.text
        (found,) = filters.owned(sqlite_world.b.agent.database, str(BOB))
        assert (found.action, found.who, found.header, found.pattern) == rule
        assert told in " ".join(bob.page.text.split())
        bob.submit("settings/filters", ("do", "remove"))
        assert "The rule is removed" in bob.page.text
        assert filters.owned(sqlite_world.b.agent.database, str(BOB)) == []


def test_a_rule_for_words_meets_those_words_alone(sqlite_world: World, bob: Browser):
    words = {"where": "subject", "words": "[a-z]*"}
    add_rule(bob, {"what": "quarantine", "whom": "*", **words})
    send(sqlite_world, "plain", "with [A-Z]* in it")
    assert subjects(sqlite_world, INBOX) == ["plain"]
    assert len(inbox.quarantined(sqlite_world.b.agent.database, BOB)) == 1


IMPOSSIBLE_RULES: list[tuple[dict[str, str], str]] = [
    ({"what": "", "whom": "*"}, "Choose what is to be done"),
    ({"what": "refuse", "whom": ""}, "Choose whom"),
    ({"what": "refuse", "whom": "address", "who": ""}, "Write the address"),
    ({"what": "refuse", "whom": "address", "who": "mallory"}, "is not an address"),
    ({"what": "refuse", "whom": "address", "who": "*"}, "has no *"),
    ({"what": "refuse", "whom": "domain", "who": "not a domain"}, "is not a domain"),
    ({"what": "refuse", "whom": "*", "where": "x", "words": "y"}, "where the words"),
    ({"what": "refuse", "whom": "*", "where": "subject", "words": "y" * 300}, "200"),
]


def test_a_rule_that_cannot_be_is_shown_again_with_the_reason(sqlite_world: World, bob: Browser):
    for typed, told in IMPOSSIBLE_RULES:
        assert add_rule(bob, typed).status_int == 400
        assert told in bob.page.text
        form = bob.page.form("settings/filters", ("do", "add"))
        assert form.values("who") == [typed.get("who", "")]
    assert filters.owned(sqlite_world.b.agent.database, str(BOB)) == []


def test_rules_of_the_domain_are_shown_and_stay(sqlite_world: World, bob: Browser):
    rule = filters.add(sqlite_world.b.agent.database, "b.example", Action.REFUSE, "unsigned")
    bob.get("settings/filters")
    assert "Before yours come those of b.example" in bob.page.text
    (token,) = set(bob.page.form("settings/filters").values("token"))
    for number in (str(rule.id), "x"):
        fields = {"token": token, "do": "remove", "rule": number}
        assert bob.post("settings/filters", fields).status_int == 404
    assert len(filters.owned(sqlite_world.b.agent.database, "b.example")) == 1


def test_a_rule_may_come_before_the_others(sqlite_world: World, bob: Browser):
    database = sqlite_world.b.agent.database
    filters.add(database, str(BOB), Action.REFUSE, "*")
    add_rule(bob, {"what": "accept", "whom": "domain", "who": "a.example", "first": "yes"})
    assert [rule.who for rule in filters.owned(database, str(BOB))] == ["*@a.example", "*"]


def test_a_key_is_published_and_taken_back(world: World):
    bob = logged_in(world)
    bob.get("settings/keys")
    bob.submit("settings/keys", ("do", "add"), line=f"{KEY} bob@laptop\r\n")
    assert "The key is published" in bob.page.text
    (key,) = author_keys.keys_of(world.b.agent.database, BOB)
    assert key.fingerprint() in bob.page.text
    assert KEY in call(world.b, "/in/box/bob@b.example/keys").text
    assert bob.submit("settings/keys", ("do", "add"), line=KEY).status_int == 400
    assert "has that key already" in bob.page.text
    bob.get("settings/keys")
    bob.submit("settings/keys", ("do", "remove"))
    assert author_keys.keys_of(world.b.agent.database, BOB) == []


SECRETS = {
    "OpenSSH's": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n",
    "age-keygen's": f"# public key: {Identity.generate().recipient}\nAGE-SECRET-KEY-1QQQQQQ\n",
    "age's, in small letters": "age-secret-key-1qqqqqq",
    "gpg's": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBGXXXX\n"
    "-----END PGP PRIVATE KEY BLOCK-----",
    "in public armour": armoured(KEY_PACKET + packet(7, b"\x04lQOYBGXXXX")).decode(),
}
FIELDS = {"add": "line", "add-sealing": "recipients", "put-openpgp": "openpgp"}


@pytest.mark.parametrize("do", FIELDS)
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_key_is_refused_and_stands_in_no_page(
    sqlite_world: World, bob: Browser, do: str, name: str
):
    secret = SECRETS[name]
    bob.get("settings/keys")
    before = sqlite_world.rows(sqlite_world.b.agent)
    bob.submit("settings/keys", ("do", do), **{FIELDS[do]: secret})
    assert bob.answer.status_int == 400
    if do == "put-openpgp" or name != "in public armour":
        assert "That is a secret key: keep it to yourself" in bob.page.text
    for line in secret.splitlines():
        assert not line or line.startswith("-----") or line not in bob.answer.text
    assert sqlite_world.rows(sqlite_world.b.agent) == before


WRONG_KEYS = [
    ("", "a key is one of"),
    ("ssh-dss AAAA", "a key is one of"),
    ("ssh-ed25519 !!", "base64"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n", "That is a secret key"),
]


def test_what_is_no_public_key_is_not_published(sqlite_world: World, bob: Browser):
    for line, told in WRONG_KEYS:
        bob.get("settings/keys")
        assert bob.submit("settings/keys", ("do", "add"), line=line).status_int == 400
        assert told in bob.page.text
        assert "secret\n" not in bob.answer.text
    assert author_keys.keys_of(sqlite_world.b.agent.database, BOB) == []


def test_what_was_typed_wrongly_is_there_again_to_be_mended(sqlite_world: World, bob: Browser):
    key = str(Identity.generate().recipient)
    for do, typed in (("add", "ssh-ed25519 !!"), ("add-sealing", f"# mine\n{key[:-1]}")):
        bob.get("settings/keys")
        bob.submit("settings/keys", ("do", do), **{FIELDS[do]: typed})
        form = bob.page.form("settings/keys", ("do", do))
        assert form.values(FIELDS[do]) == [typed]
    for do, typed in (("add", "hello"), ("add-sealing", f"hello\n{key}"), ("put-openpgp", "x")):
        bob.get("settings/keys")
        bob.submit("settings/keys", ("do", do), **{FIELDS[do]: typed})
        form = bob.page.form("settings/keys", ("do", do))
        assert form.values(FIELDS[do]) == [""], "who knows what that is"


def test_keys_to_seal_to_are_published_and_taken_back(world: World):
    bob = logged_in(world)
    database = world.b.agent.database
    one, two = (Identity.generate().recipient for _ in range(2))
    hybrid = Identity.generate(post_quantum=True).recipient
    bob.get("settings/keys")
    assert "nobody can seal what he writes to you" in bob.page.text
    add = ("do", "add-sealing")
    bob.submit("settings/keys", add, recipients=f"# mine\r\n{one}\r\n")
    assert "The key is published" in bob.page.text
    assert str(one) in bob.page.text
    bob.submit("settings/keys", add, recipients=f"{two}")
    assert set(sealing_keys.recipients_of(database, BOB)) == {one, two}
    assert bob.submit("settings/keys", add, recipients=f"{two}").status_int == 400
    assert "publishes that key already" in bob.page.text
    assert bob.submit("settings/keys", add, recipients=f"{hybrid}").status_int == 400
    assert "of another kind" in bob.page.text
    bob.submit("settings/keys", add, recipients=f"{hybrid}", replace="yes")
    assert sealing_keys.recipients_of(database, BOB) == (hybrid,)
    assert str(hybrid) not in bob.page.text, "it fills a page"
    assert fingerprint(hybrid) in bob.page.text
    bob.submit("settings/keys", ("do", "remove-sealing"))
    assert sealing_keys.recipients_of(database, BOB) == ()
    for nothing in ("", "# a comment alone", "hello", "age1yubikey1qqqq"):
        assert bob.post("settings/keys", {**tokens(bob), "do": "add-sealing",
                                          "recipients": nothing}).status_int == 400  # fmt: skip
        bob.get("settings/keys")


def tokens(browser: Browser) -> dict[str, str]:
    """What a form of the page that is shown must send."""
    return {"token": browser.page.form("settings/keys").values("token")[0]}


def test_an_openpgp_key_is_published_and_taken_back(world: World):
    bob = logged_in(world)
    database = world.b.agent.database
    his = KEY_PACKET + packet(13, b"Bob &amp; <bob@b.example>") + packet(13, b"builder@c.example")
    bob.get("settings/keys")
    put = ("do", "put-openpgp")
    bob.submit("settings/keys", put, openpgp=armoured(his).decode().replace("\n", "\r\n"))
    assert "The key is published" in bob.page.text
    key = openpgp_keys.get(database, BOB)
    assert key is not None
    assert key.octets == his
    assert key.fingerprint in bob.page.text
    assert "Bob &amp; <bob@b.example>; builder@c.example" in bob.page.text, "what else is in it"
    assert "This site does not hand out OpenPGP keys" in bob.page.text
    assert "/.well-known/openpgpkey/" not in bob.page.text
    others = KEY_PACKET + packet(13, b"alice@a.example")
    assert bob.submit("settings/keys", put, openpgp=armoured(others).decode()).status_int == 400
    assert "no User ID of the key has the address bob@b.example" in bob.page.text
    bob.get("settings/keys")
    bob.submit("settings/keys", ("do", "remove-openpgp"))
    assert openpgp_keys.get(database, BOB) is None


def test_a_page_tells_where_an_openpgp_key_is_found_where_it_is(sqlite_world: World):
    agent = sqlite_world.b.agent
    domain = replace(agent.settings.domains["b.example"], web_key_directory=True)
    settings = replace(agent.settings, domains={"b.example": domain})
    sqlite_world.b = XHMTP(sqlite_world.b.site, settings, agent=replace(agent, settings=settings))
    key = OpenPGPKey.parse(KEY_PACKET + packet(13, b"bob@b.example"))
    openpgp_keys.put(agent.database, BOB, key, sqlite_world.clock())
    bob = logged_in(sqlite_world)
    bob.get("settings/keys")
    assert "This site does not hand out" not in bob.page.text
    assert "gpg --locate-keys bob@b.example" in bob.page.text
    (url,) = re.findall(r"https://b.example(/\S+\?l=bob)", bob.page.text)
    assert call(sqlite_world.b, url, headers={"Host": "b.example"}).body == key.octets


def test_a_large_openpgp_key_can_be_pasted(sqlite_world: World, bob: Browser):
    room = MAX_OCTETS - len(KEY_PACKET) - len(b"bob@b.example") - 12
    large = KEY_PACKET + packet(13, b"bob@b.example") + packet(17, Random(1).randbytes(room))
    assert len(large) == MAX_OCTETS
    bob.get("settings/keys")
    typed = armoured(large).decode().replace("\n", "\r\n")
    bob.submit("settings/keys", ("do", "put-openpgp"), openpgp=typed)
    assert "The key is published" in bob.page.text


def test_nobody_takes_back_a_key_that_is_not_his(sqlite_world: World, bob: Browser):
    cheryl = Endpoint.parse("cheryl@b.example")
    database = sqlite_world.b.agent.database
    hers = Identity.generate().recipient
    sealing_keys.add(database, cheryl, hers, 0.0, replace=False)
    pgp = OpenPGPKey.parse(KEY_PACKET + packet(13, b"cheryl@b.example"))
    openpgp_keys.put(database, cheryl, pgp, 0.0)
    bob.get("settings/keys")
    for do, key in (
        ("remove-sealing", str(hers)),
        ("remove-openpgp", pgp.fingerprint),
        ("remove", "SHA256:x"),
        ("remove-sealing", ""),
        ("remove-openpgp", ""),
    ):
        fields = {**tokens(bob), "do": do, "key": key}
        assert bob.post("settings/keys", fields).status_int == 404
        bob.get("settings/keys")
    assert sealing_keys.recipients_of(database, cheryl) == (hers,)
    assert openpgp_keys.get(database, cheryl) == pgp
