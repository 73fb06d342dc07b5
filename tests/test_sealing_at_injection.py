"""alice's agent seals what she sends: for whom, to which keys, and what she is told before."""

import hashlib
import tempfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.sealed_world import fetched, new_key, notices, opened, policy, sign
from tests.world import ALICE, BOB, MESSAGE, World, basic, call
from xhmtp_wsgi import preferences
from xhmtp_wsgi.errors import NotSealedToThese
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.sealing import Identity, is_sealed, seal
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender import recipient_keys, sealing_keys
from xhmtp_wsgi.sender.tables import pieces, usage

SECRET = (
    b"From: Alice Liddell <alice@a.example>\r\nTo: bob@b.example\r\nCc: cheryl@b.example\r\n"
    b"Bcc: dora@b.example, emil@b.example\r\nSubject: the lamplighter\r\nKeywords: quarry\r\n"
    b"In-Reply-To: <earlier@b.example>\r\nDate: Fri, 06 Nov 2026 12:34:56 +0900\r\n"
    b"Message-ID: <one@a.example>\r\n\r\nMeet at the viaduct.\r\n"
)
WORDS = (b"lamplighter", b"quarry", b"viaduct", b"Liddell", b"earlier@b.example", b"+0900")


@pytest.fixture
def signing(world: World) -> World:
    """Both domains sign, and bob's has more users."""
    sign(world)
    for name in ("cheryl", "dora", "emil"):
        world.b.agent.accounts.add(Endpoint.parse(f"{name}@b.example"), "password of theirs")
    return world


def test_who_has_a_key_gets_the_message_sealed_to_it(signing: World):
    bob = new_key(signing.b.agent, "bob@b.example")
    answer = signing.inject(MESSAGE, "?seal=always")
    assert answer.status_int == 201, answer.text
    assert answer.json["recipients"][0]["sealed"] == "x25519"
    assert signing.notify().notified == 1
    notice = notices(signing.b.agent, "bob@b.example")[0]
    octets = fetched(signing, notice)
    assert is_sealed(octets)
    inside = opened(octets, bob)
    assert inside.endswith(b"\r\n\r\nDear Bob\r\n")
    assert b"Subject: hello" in inside
    assert (notice.size, notice.digest) == (len(octets), hashlib.sha256(octets).digest())


def test_outside_stands_what_delivery_needs_and_nothing_else(signing: World):
    for name in ("bob", "cheryl", "dora", "emil"):
        new_key(signing.b.agent, f"{name}@b.example")
    assert signing.inject(SECRET, "?seal=always").status_int == 201
    signing.notify()
    for name in ("bob", "dora"):
        headers = notices(signing.b.agent, f"{name}@b.example")[0].headers
        fields = message_from_bytes(headers)
        assert {key.lower() for key in fields} == {
            "from", "date", "message-id", "mime-version", "content-type", "content-length",
            "repr-digest", "expires",
        }  # fmt: skip
        assert fields["From"] == "alice@a.example"
        assert fields["Date"] == "Fri, 06 Nov 2026 03:34:00 +0000"
        assert fields["Content-Type"] == "application/age"
        assert fields["Message-ID"] == "<one@a.example>"


def test_the_subject_stands_outside_where_she_wants_it(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    signing.inject(MESSAGE, "?seal=always&subject=outside")
    signing.notify()
    assert "Subject: hello" in notices(signing.b.agent, "bob@b.example")[0].headers.decode()


def test_inside_is_the_true_header(signing: World):
    keys = {
        name: new_key(signing.b.agent, f"{name}@b.example")
        for name in ("bob", "cheryl", "dora", "emil")
    }
    signing.inject(SECRET, "?seal=always")
    signing.notify()
    for name, identity in keys.items():
        notice = notices(signing.b.agent, f"{name}@b.example")[0]
        fields = message_from_bytes(opened(fetched(signing, notice), identity))
        assert fields["From"] == "Alice Liddell <alice@a.example>"
        assert fields["Subject"] == "the lamplighter"
        assert fields["In-Reply-To"] == "<earlier@b.example>"
        assert fields["Bcc"] is None


def stanzas(octets: bytes) -> int:
    return octets.partition(b"\n---")[0].count(b"\n-> ")


def test_nobody_can_count_who_is_in_bcc(signing: World):
    keys = {
        name: new_key(signing.b.agent, f"{name}@b.example")
        for name in ("bob", "cheryl", "dora", "emil")
    }
    signing.inject(SECRET, "?seal=always")
    signing.notify()
    files = {
        name: fetched(signing, notices(signing.b.agent, f"{name}@b.example")[0]) for name in keys
    }
    assert files["bob"] == files["cheryl"], "one file for those whom all may see"
    assert stanzas(files["bob"]) == 2
    assert stanzas(files["dora"]) == stanzas(files["emil"]) == 1
    for name in ("bob", "dora"):
        with pytest.raises(NotSealedToThese):
            opened(files[name], keys["emil"])


def test_who_is_named_by_to_in_the_query_alone_is_hidden_too(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    new_key(signing.b.agent, "dora@b.example")
    signing.inject(MESSAGE, "?seal=always&to=bob@b.example&to=dora@b.example")
    signing.notify()
    assert stanzas(fetched(signing, notices(signing.b.agent, "bob@b.example")[0])) == 1


def test_post_quantum_keys_and_others_are_never_in_one_file(signing: World):
    bob = new_key(signing.b.agent, "bob@b.example", post_quantum=True)
    cheryl = new_key(signing.b.agent, "cheryl@b.example")
    new_key(signing.b.agent, "dora@b.example")
    new_key(signing.b.agent, "emil@b.example")
    answer = signing.inject(SECRET, "?seal=always")
    sealed = {one["address"]: one["sealed"] for one in answer.json["recipients"]}
    assert sealed["bob@b.example"] == "mlkem768x25519"
    assert sealed["cheryl@b.example"] == "x25519"
    signing.notify()
    for name, identity in (("bob", bob), ("cheryl", cheryl)):
        octets = fetched(signing, notices(signing.b.agent, f"{name}@b.example")[0])
        assert stanzas(octets) == 1
        assert b"viaduct" in opened(octets, identity)


def test_the_sender_can_read_what_she_has_sent(signing: World):
    alice = new_key(signing.a.agent, "alice@a.example")
    new_key(signing.b.agent, "bob@b.example", post_quantum=True)
    location = signing.inject(MESSAGE, "?seal=always").headers["Location"]
    own = call(signing.a, location, authorization=basic("alice@a.example", "wonderland"))
    assert own.headers["Content-Type"] == "application/age"
    assert b"Dear Bob" in opened(own.body, alice)
    signing.notify()
    assert stanzas(fetched(signing, notices(signing.b.agent, "bob@b.example")[0])) == 1


def test_with_always_a_recipient_without_a_key_stops_all(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    policy(signing, "always")
    before = signing.rows()["message"]
    answer = signing.inject(MESSAGE, "?to=bob@b.example&to=cheryl@b.example")
    assert answer.status_int == 422
    assert list(answer.json["recipients"]) == ["cheryl@b.example"]
    assert "no key" in str(answer.json["recipients"])
    assert signing.rows()["message"] == before


def test_where_nothing_is_sent_no_key_is_remembered(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    query = "?to=bob@b.example&to=cheryl@b.example&seal=always"
    assert signing.inject(MESSAGE, query).status_int == 422
    assert recipient_keys.known(signing.a.agent.database, ALICE) == []
    new_key(signing.b.agent, "cheryl@b.example")
    signing.clock.now += 600
    assert signing.inject(MESSAGE, query).status_int == 201
    assert len(recipient_keys.known(signing.a.agent.database, ALICE)) == 2


def test_with_known_those_without_a_key_get_it_in_the_clear(signing: World):
    bob = new_key(signing.b.agent, "bob@b.example")
    answer = signing.inject(MESSAGE, "?seal=known&to=bob@b.example&to=cheryl@b.example")
    assert [one["sealed"] for one in answer.json["recipients"]] == [None, "x25519"]
    signing.notify()
    in_clear = fetched(signing, notices(signing.b.agent, "cheryl@b.example")[0])
    assert in_clear.endswith(b"Dear Bob\r\n")
    assert opened(fetched(signing, notices(signing.b.agent, "bob@b.example")[0]), bob) == in_clear


def test_what_is_answered_of_each_recipient_is_what_the_outbox_holds(signing: World):
    for name in ("bob", "dora"):
        new_key(signing.b.agent, f"{name}@b.example")
    answer = signing.inject(SECRET, "?seal=known")
    alice = basic("alice@a.example", "wonderland")
    status = call(signing.a, f"{answer.headers['Location']}/status", authorization=alice)
    wanted = ("address", "state", "sealed")
    held = [{name: one[name] for name in wanted} for one in status.json["recipients"]]
    assert answer.json["recipients"] == held
    assert {one["state"] for one in held} == {"queued"}
    assert {one["sealed"] for one in held} == {"x25519", None}
    signing.notify()
    again = signing.inject(SECRET, "?seal=known")
    assert again.status_int == 200
    assert {one["state"] for one in again.json["recipients"]} == {"notified"}


def test_a_dry_run_tells_all_of_it_and_does_nothing(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    before = signing.rows()
    answer = signing.inject(MESSAGE, "?dry-run=1&seal=always&to=bob@b.example&to=cheryl@b.example")
    assert answer.status_int == 200
    told = {one["address"]: one for one in answer.json["recipients"]}
    assert told["bob@b.example"]["sealed"] == "x25519"
    assert told["bob@b.example"]["first-seen"]
    assert told["bob@b.example"]["keys"][0].startswith("age1")
    assert "no key" in told["cheryl@b.example"]["refused"]
    after = signing.rows()
    for table in ("message", "delivery", "known_sealing_key", "message_piece"):
        assert before[table] == after[table], table


def test_a_key_that_has_changed_is_used_only_when_she_says_so(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    assert signing.inject(MESSAGE, "?seal=always").status_int == 201
    other = new_key(signing.b.agent, "bob@b.example")
    signing.clock.now += 2 * 86400
    for wish in ("always", "known"):
        answer = signing.inject(MESSAGE + b"again", f"?seal={wish}")
        assert answer.status_int == 422, "nor is it sent in the clear"
        assert "have changed" in str(answer.json["recipients"])
    answer = signing.inject(MESSAGE + b"again", "?seal=always&accept-keys=1")
    assert answer.status_int == 201
    signing.notify()
    octets = fetched(signing, notices(signing.b.agent, "bob@b.example")[0])
    assert opened(octets, other).endswith(b"again")


def test_where_a_key_was_known_nothing_goes_in_the_clear_when_it_is_not_to_be_had(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    signing.inject(MESSAGE, "?seal=known")
    key = sealing_keys.recipients_of(signing.b.agent.database, BOB)[0]
    sealing_keys.remove(signing.b.agent.database, BOB, str(key))
    signing.clock.now += 2 * 86400
    assert signing.inject(MESSAGE + b"again", "?seal=known").status_int == 422


def test_her_own_choice_counts_and_the_domain_has_the_last_word(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    preferences.put(signing.a.agent.database, ALICE, "seal", "always")
    assert signing.inject(MESSAGE).json["recipients"][0]["sealed"] == "x25519"
    policy(signing, "always")
    preferences.put(signing.a.agent.database, ALICE, "seal", "never")
    assert signing.inject(MESSAGE + b"2").json["recipients"][0]["sealed"] == "x25519"
    answer = signing.inject(MESSAGE + b"3", "?seal=never")
    assert answer.status_int == 403
    assert "nothing that is not sealed" in answer.text


@pytest.mark.parametrize("query", ["?seal=perhaps", "?seal=", "?subject=both"])
def test_a_wish_that_is_none_is_400(sqlite_world: World, query: str):
    assert sqlite_world.inject(MESSAGE, query).status_int == 400


def test_the_same_message_again_is_the_same_though_it_is_sealed_anew(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    message = MESSAGE.replace(b"Subject", b"Message-ID: <x@a.example>\r\nSubject")
    first = signing.inject(message, "?seal=always")
    again = signing.inject(message, "?seal=always")
    assert (first.status_int, again.status_int) == (201, 200)
    assert first.headers["Location"] == again.headers["Location"]
    assert first.json["digest"] == again.json["digest"]


def test_all_its_forms_count_and_go_when_it_is_withdrawn(signing: World):
    for name in ("bob", "cheryl", "dora", "emil"):
        new_key(signing.b.agent, f"{name}@b.example")
    location = signing.inject(SECRET, "?seal=always").headers["Location"]
    signing.notify()
    with signing.a.agent.database.reading() as connection:
        counted = connection.execute(select(usage.c.octets)).scalar_one()
    forms = {
        fetched(signing, notices(signing.b.agent, f"{name}@b.example")[0])
        for name in ("bob", "dora", "emil")
    }
    assert counted == sum(map(len, forms))
    own = basic("alice@a.example", "wonderland")
    assert call(signing.a, location, method="DELETE", authorization=own).status_int == 200
    with signing.a.agent.database.reading() as connection:
        assert connection.execute(select(usage.c.octets)).scalar_one() == 0
        assert connection.execute(select(pieces.c.message)).first() is None


def test_a_large_one_is_fetched_in_ranges_of_its_own_form(signing: World):
    bob = new_key(signing.b.agent, "bob@b.example")
    emil = new_key(signing.b.agent, "emil@b.example")
    body = bytes(range(256)) * 4096
    signing.inject(MESSAGE + body, "?seal=always&to=bob@b.example&to=emil@b.example")
    signing.notify()
    for name, identity in (("bob", bob), ("emil", emil)):
        notice = notices(signing.b.agent, f"{name}@b.example")[0]
        octets = fetched(signing, notice)
        assert opened(octets, identity).endswith(body)
        url = MessageURL.parse(notice.url)
        part = call(
            signing.a,
            url.path,
            authorization=basic(str(url.recipient), url.code),
            headers={"Range": "bytes=300000-300009"},
        )
        assert part.body == octets[300000:300010]
        assert part.headers["Content-Type"] == "application/age"


# What her own client has sealed


OUTER = (
    b"From: Alice <alice@a.example>\r\nTo: bob@b.example\r\nCc: cheryl@b.example\r\n"
    b"Message-ID: <client@a.example>\r\nDate: Fri, 06 Nov 2026 12:34:56 +0900\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: application/age\r\n"
)


def test_what_came_sealed_is_stored_as_it_is(world: World):
    bob = Identity.generate()
    octets = b"".join(seal([SECRET], [bob.recipient]))
    answer = world.inject(OUTER + b"\r\n" + octets)
    assert answer.status_int == 201, answer.text
    assert {one["sealed"] for one in answer.json["recipients"]} == {"client"}
    world.notify()
    notice = notices(world.b.agent, "bob@b.example")[0]
    assert fetched(world, notice) == octets
    assert opened(octets, bob) == SECRET
    assert "Cc:" not in notice.headers.decode()
    assert "cheryl" not in notice.headers.decode()


def test_line_ends_of_what_came_sealed_are_not_touched(sqlite_world: World):
    octets = b"age-encryption.org/v1\n-> X\n\n--- x\n" + bytes(range(256))
    answer = sqlite_world.inject(OUTER.replace(b"\r\n", b"\n") + b"\n" + octets)
    assert answer.status_int == 201
    sqlite_world.notify()
    assert fetched(sqlite_world, notices(sqlite_world.b.agent, "bob@b.example")[0]) == octets


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"", b"no age file"),
        (b"", b""),
        (b"Content-Transfer-Encoding: base64\r\n", b"age-encryption.org/v1\n"),
    ],
)
def test_what_only_says_that_it_is_sealed_is_refused(
    sqlite_world: World, header: bytes, body: bytes
):
    answer = sqlite_world.inject(OUTER + header + b"\r\n" + body)
    assert answer.status_int == 400
    assert sqlite_world.rows()["message"] == 0


def test_a_browser_is_told_how_a_sealed_message_is_opened(signing: World):
    new_key(signing.b.agent, "bob@b.example")
    signing.inject(MESSAGE, "?seal=always")
    signing.notify()
    url = MessageURL.parse(notices(signing.b.agent, "bob@b.example")[0].url)
    page = call(
        signing.a,
        url.path,
        authorization=basic(str(url.recipient), url.code),
        headers={"Accept": "text/html"},
    )
    assert "This message is sealed" in page.text
    assert "age -d" in page.text


# Nothing of it anywhere


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_no_word_of_it_is_in_any_file_of_either_agent(
    signing: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys = [
        new_key(signing.b.agent, f"{name}@b.example") for name in ("bob", "cheryl", "dora", "emil")
    ]
    written: list[bytes] = []

    class Watched(tempfile.SpooledTemporaryFile[bytes]):
        def write(self, octets: Any) -> int:
            written.append(bytes(octets))
            return super().write(octets)

    monkeypatch.setattr("xhmtp_wsgi.sender.spool.tempfile.SpooledTemporaryFile", Watched)
    assert signing.inject(SECRET, "?seal=always").status_int == 201
    signing.notify()
    monkeypatch.undo()
    for name in ("bob", "cheryl", "dora", "emil"):
        fetched(signing, notices(signing.b.agent, f"{name}@b.example")[0])
    dump = everything_in(tmp_path)
    for agent in (signing.a.agent, signing.b.agent):
        with agent.database.reading() as connection:
            for table in metadata.sorted_tables:
                dump += repr(connection.execute(select(table)).all()).encode()
    assert b"alice@a.example" in dump, "the dump is one"
    assert b"".join(written), "so is what was written to temporary files"
    for word in WORDS:
        assert word not in dump, word
        assert word not in b"".join(written), word
    for identity in keys:
        assert identity.text().encode() not in dump
