"""What an address publishes: the form of the list, and how it is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from tests.test_signature import Published
from tests.world import BOB, World, call
from xhmtp_wsgi import group_register
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.published_keys import (
    MAX_LINES,
    MOST_SEALING,
    KeyList,
    allowed_signers,
    fingerprint,
)
from xhmtp_wsgi.protocol.response_signature import key_of_response, verify_response
from xhmtp_wsgi.protocol.sealing import HYBRID, X25519, Identity, Recipient, parse_recipients
from xhmtp_wsgi.protocol.sealing.bech32 import encode
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.sender import author_keys, sealing_keys

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK8+aAwmHUoxLRZZbAegYsztJFocLFaamIoykDWD7hZ6"
SIGNS = PublicKey.parse(LINE)
ONE, OTHER = (Identity(X25519, bytes([number]) * 32).recipient for number in (1, 2))
QUANTUM = Identity(HYBRID, bytes([3]) * 32).recipient
BOBS = "/in/box/bob@b.example/keys"

secrets = st.binary(min_size=32, max_size=32)
recipients = st.lists(secrets, max_size=MOST_SEALING, unique=True).map(
    lambda found: tuple(Identity(X25519, secret).recipient for secret in found)
)


def parse(text: str) -> KeyList:
    return KeyList.parse(text.encode())


# The form


def test_a_list_says_whose_it_is_who_signs_and_what_seals():
    text = KeyList(BOB, (SIGNS,), (ONE, OTHER)).text()
    assert text == f"# keys of bob@b.example\n# signs: {LINE}\n{ONE}\n{OTHER}\n"
    assert parse_recipients(text) == (ONE, OTHER), "as age -R reads it"


@given(recipients, st.booleans(), st.sampled_from(["bob@b.example", "B.o+b@b.example", "x@y.z"]))
def test_what_is_made_is_read_again(found: tuple[Recipient, ...], signs: bool, owner: str):
    made = KeyList(Endpoint.parse(owner), (SIGNS,) if signs else (), found)
    assert KeyList.parse(made.text().encode("ascii")) == made
    assert KeyList.parse(made.text().replace("\n", "\r\n").encode("ascii")) == made


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: f"age1{text}".encode()))
def test_no_octets_make_an_error_and_none_a_key_by_chance(octets: bytes):
    found = KeyList.parse(octets)
    assert found.sealing == () and found.signing == ()


def test_what_other_programs_understand_is_passed_over():
    text = (
        f"# keys of bob@b.example\n\n# anything\n{LINE}\nage1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5ne"
        f"gm4uj9ghv0snvdd3yysf5yw3rhl3t\n{ONE}\nage1tag1xyz\nAGE-SECRET-KEY-1AAAA\n# signs: rubbish"
        f"\nage1notakey\n{OTHER}"
    )
    assert parse(text) == KeyList(BOB, (), (ONE, OTHER))


def test_a_line_ends_where_it_does_for_age():
    """What age takes for a comment is none of our keys."""
    for end in ("\v", "\f", "\x1c", "\x1e", "\x85", "\u2028", "\r"):
        assert parse(f"# keys of bob@b.example\n# a comment{end}{ONE}\n").sealing == (), repr(end)


def test_only_the_first_line_says_whose_it_is():
    for text in ("", "\n", f"{ONE}\n# keys of bob@b.example\n", " # keys of", "# keys of bob", "#"):
        assert parse(text).owner is None, text


def test_at_most_two_hundred_lines_are_read():
    within = "# keys of bob@b.example\n" + "#\n" * (MAX_LINES - 2) + f"{ONE}\n{OTHER}\n"
    assert parse(within).sealing == (ONE,)


def test_at_most_ten_keys_of_one_address_are_sealed_to_the_first():
    many = [Identity(X25519, bytes([number]) * 32).recipient for number in range(1, 30)]
    assert parse(KeyList(BOB, (), tuple(many)).text()).sealing == tuple(many[:MOST_SEALING])


def test_the_same_key_twice_is_one():
    assert parse(KeyList(BOB, (SIGNS, SIGNS), (ONE, ONE)).text()) == KeyList(BOB, (SIGNS,), (ONE,))


def test_where_post_quantum_keys_stand_beside_others_they_alone_are_used():
    assert parse(KeyList(BOB, (), (ONE, QUANTUM, OTHER)).text()).sealing == (QUANTUM,)


@pytest.mark.parametrize(
    "octets",
    [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", bytes(31) + b"\x80",
     bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")],
)  # fmt: skip
def test_a_point_that_anybody_could_open_is_no_key(octets: bytes):
    assert parse(f"# keys of bob@b.example\n{encode('age', octets)}\n{ONE}\n").sealing == (ONE,)


def test_a_fingerprint_is_short_and_says_what_is_post_quantum():
    text = str(ONE)
    assert fingerprint(ONE) == f"{text[:16]}...{text[-6:]}"
    assert fingerprint(QUANTUM).startswith("age1pq1") and "(post-quantum)" in fingerprint(QUANTUM)
    assert len(fingerprint(QUANTUM)) < 50


def test_allowed_signers_name_the_address():
    assert allowed_signers(BOB, [SIGNS]) == f'bob@b.example namespaces="xhmtp" {LINE}\n'


# How it is served


def publish(world: World, *keys: Recipient, owner: Endpoint = BOB) -> None:
    for key in keys:
        sealing_keys.add(world.b.agent.database, owner, key, world.clock(), replace=False)


def sign_for_b(world: World) -> bytes:
    """Gives b.example a key that signs; the public half."""
    key = world.b.agent.signing_keys.add("b.example")
    Published(world).publish((key.name, key.public))
    return key.public


def test_both_kinds_of_keys_are_served_to_anybody(world: World):
    author_keys.add_key(world.b.agent.database, BOB, SIGNS, world.clock())
    publish(world, ONE)
    world.clock.now += 1
    publish(world, OTHER)
    answer = call(world.b, BOBS)
    assert answer.status_int == 200
    assert answer.text == f"# keys of bob@b.example\n# signs: {LINE}\n{OTHER}\n{ONE}\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "max-age=3600"
    assert "Signature" not in answer.headers, "the domain has no key yet"


def test_the_list_is_signed_by_the_domain(sqlite_world: World):
    publish(sqlite_world, ONE)
    public = sign_for_b(sqlite_world)
    answer = call(sqlite_world.b, BOBS)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    name = key_of_response(headers)
    assert name is not None and name.domain == "b.example"
    verify_response(
        status=200, headers=headers, body=answer.body, public_key=public, now=sqlite_world.clock()
    )
    for_ssh = call(sqlite_world.b, f"{BOBS}?form=allowed-signers")
    assert "Signature" not in for_ssh.headers, "that form does not say whose it is"


def test_head_tells_what_get_does(sqlite_world: World):
    publish(sqlite_world, ONE)
    sign_for_b(sqlite_world)
    get, head = call(sqlite_world.b, BOBS), call(sqlite_world.b, BOBS, method="HEAD")
    assert head.status_int == 200 and head.body == b""
    assert dict(head.headers) == dict(get.headers)


def test_a_cache_that_has_it_is_told_so_and_gets_a_new_signature(sqlite_world: World):
    publish(sqlite_world, ONE)
    sign_for_b(sqlite_world)
    first = call(sqlite_world.b, BOBS)
    sqlite_world.clock.now += 3600
    again = call(sqlite_world.b, BOBS, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_int, again.body) == (304, b"")
    assert again.headers["Signature-Input"] != first.headers["Signature-Input"]
    assert again.headers["Content-Digest"] == first.headers["Content-Digest"]
    publish(sqlite_world, OTHER)
    changed = call(sqlite_world.b, BOBS, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_int == 200


def alike(world: World, *names: str) -> set[tuple[object, ...]]:
    """How the answers for these names differ, but for the name."""
    found = set()
    for name in names:
        answer = call(world.b, f"/in/box/{name}@b.example/keys")
        headers = {
            name: value for name, value in answer.headers.items()
            if name not in ("ETag", "Content-Digest", "Signature", "Content-Length")
        }  # fmt: skip
        text = answer.text.replace(name, "NAME")
        found.add((answer.status_int, text, *sorted(headers.items())))
    return found


def test_nobody_a_group_a_forwarding_and_who_has_no_key_look_alike(world: World):
    sign_for_b(world)
    agent = world.b.agent
    now = world.clock()
    agent.addressing.add(Endpoint.parse("away@b.example"), Endpoint.parse("x@c.example"), now)
    group_register.add(agent.database, Endpoint.parse("team@b.example"), now)
    publish(world, ONE, owner=Endpoint.parse("gone@b.example"))
    answers = alike(world, "bob", "nobody", "away", "team", "gone")
    assert len(answers) == 1
    ((status, text, *_),) = answers
    assert (status, text) == (200, "# keys of NAME@b.example\n")


def test_an_alias_publishes_what_its_mailbox_does_under_its_own_name(world: World):
    publish(world, ONE)
    author_keys.add_key(world.b.agent.database, BOB, SIGNS, world.clock())
    shop, builder = (Endpoint.parse(f"{name}@b.example") for name in ("shop", "builder"))
    world.b.agent.addressing.add(shop, BOB, world.clock())
    world.b.agent.addressing.add(builder, shop, world.clock(), may_send=True)

    def served(name: str) -> str:
        return str(call(world.b, f"/in/box/{name}@b.example/keys").text)

    assert served("bob+tag") == f"# keys of bob+tag@b.example\n# signs: {LINE}\n{ONE}\n"
    assert served("Bob") == f"# keys of Bob@b.example\n# signs: {LINE}\n{ONE}\n"
    assert served("shop") == f"# keys of shop@b.example\n{ONE}\n", "he may not write in its name"
    assert served("builder") == f"# keys of builder@b.example\n{ONE}\n", "nor in this one's"
    world.b.agent.addressing.remove(shop)
    world.b.agent.addressing.add(shop, BOB, world.clock(), may_send=True)
    for name in ("shop", "builder"):
        assert served(name) == f"# keys of {name}@b.example\n# signs: {LINE}\n{ONE}\n"


def test_keys_of_another_domain_are_not_served(sqlite_world: World):
    assert call(sqlite_world.b, "/in/box/alice@a.example/keys").status_int == 421


@pytest.mark.parametrize("policy", ["tell", "hide"])
def test_the_policy_for_unknown_names_changes_nothing(sqlite_world: World, policy: str):
    domain = sqlite_world.b.agent.settings.domains["b.example"]
    object.__setattr__(domain, "unknown_recipients", policy)
    assert len(alike(sqlite_world, "bob", "nobody")) == 1


def test_the_same_questions_are_asked_for_who_is_there_and_who_is_not(sqlite_world: World):
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(sqlite_world.b.agent.database.engine(), "before_cursor_execute", note)

    def questions(name: str) -> list[str]:
        asked.clear()
        call(sqlite_world.b, f"/in/box/{name}@b.example/keys")
        return list(asked)

    questions("bob")
    assert questions("bob") == questions("nobody")
    assert questions("bob"), "there are some"
