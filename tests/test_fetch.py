"""Fetching: ranges, conditions, HEAD, and nothing for whoever has not the right code."""

import hashlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from sqlalchemy import select, update
from sqlalchemy.pool import QueuePool
from webob import Request, Response

from tests.world import MESSAGE, World, basic, call
from xhmtp_wsgi.errors import Gone
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender.tables import PIECE, deliveries

BODY = bytes(range(256)) * (3 * PIECE // 256)


def sent(world: World, body: bytes = BODY, query: str = "") -> tuple[MessageURL, bytes]:
    """The URL of a message that bob was told of, and its octets."""
    world.inject(MESSAGE + body, query)
    world.notify()
    owner = type(world.b.agent.accounts.all()[0]).parse("bob@b.example")
    notices = inbox.page(world.b.agent.database, owner, newest=10**6, limit=10**6)
    url = MessageURL.parse(notices[0].url)
    return url, get(world, url).body


def get(world: World, url: MessageURL, **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(
        world.a, url.path, authorization=basic(str(url.recipient), url.code), headers=fields
    )


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        (f"bytes={PIECE - 5}-{PIECE + 5}", PIECE - 5, PIECE + 6),
        (f"bytes={PIECE}-{2 * PIECE - 1}", PIECE, 2 * PIECE),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        (f"bytes=5-{10**9}", 5, None),
    ],
)
def test_a_range_is_those_octets(world: World, asked: str, start: int, stop: int | None):
    url, whole = sent(world)
    answer = get(world, url, Range=asked)
    assert answer.status_int == 206
    assert answer.body == whole[start:stop]
    assert answer.headers["Content-Range"].endswith(f"/{len(whole)}")


def test_a_range_beyond_the_end_cannot_be(sqlite_world: World):
    url, whole = sent(sqlite_world, b"x")
    answer = get(sqlite_world, url, Range=f"bytes={len(whole)}-")
    assert answer.status_int == 416


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "lines=1-2", "bytes=x", "bytes=5-1"])
def test_other_ranges_are_answered_with_the_whole(sqlite_world: World, asked: str):
    url, whole = sent(sqlite_world, b"x")
    answer = get(sqlite_world, url, Range=asked)
    assert (answer.status_int, answer.body) == (200, whole)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, None), (4 * PIECE - 3, 4 * PIECE + 3), (3 * PIECE, 8 * PIECE), (5 * PIECE + 7, None)],
)
def test_a_message_of_many_pieces_is_read_in_their_order(
    world: World, start: int, stop: int | None
):
    body = b"".join(bytes([number]) * PIECE for number in range(1, 10))
    url, whole = sent(world, body)
    assert whole.endswith(body)
    end = "" if stop is None else stop - 1
    answer = get(world, url, Range=f"bytes={start}-{end}")
    assert (answer.status_int, answer.body) == (206, whole[start:stop])


def test_a_slow_reader_holds_no_transaction(world: World):
    url, whole = sent(world, BODY * 3)
    answer = started(world, url)
    pool = world.a.agent.database.engine().pool
    assert isinstance(pool, QueuePool)
    read = [next(answer)]
    assert pool.checkedout() == 0, "while he takes his time over what he has"
    read += answer
    assert b"".join(read) == whole


def test_a_message_withdrawn_while_it_is_read_never_seems_whole(world: World):
    url, whole = sent(world, BODY * 3)
    answer = started(world, url)
    read = [next(answer)]
    alice = basic("alice@a.example", "wonderland")
    assert call(world.a, url.path, method="DELETE", authorization=alice).status_int == 200
    with pytest.raises(Gone):
        read += answer
    assert len(b"".join(read)) < len(whole)


def started(world: World, url: MessageURL) -> Iterator[bytes]:
    """A fetch whose answer has begun, and is read as slowly as one likes."""
    request = Request.blank(url.path)
    request.headers["Authorization"] = basic(str(url.recipient), url.code)
    return iter(world.a(request.environ, lambda *_: None))


def test_the_digest_and_the_etag_are_of_the_octets(sqlite_world: World):
    url, whole = sent(sqlite_world)
    answer = get(sqlite_world, url)
    assert answer.etag == hashlib.sha256(whole).hexdigest()
    assert answer.content_length == len(whole)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert get(sqlite_world, url, If_None_Match=f'"{answer.etag}"').status_int == 304
    modified = answer.headers["Last-Modified"]
    assert get(sqlite_world, url, If_Modified_Since=modified).status_int == 304
    assert get(sqlite_world, url, Range="bytes=0-1", If_Range='"another"').status_int == 200


def test_head_tells_the_same_without_a_body_and_is_no_fetch(sqlite_world: World):
    url, whole = sent(sqlite_world)
    path = url.path
    fetched_before = _state(sqlite_world, path)
    head = call(
        sqlite_world.a, path, method="HEAD", authorization=basic(str(url.recipient), url.code)
    )
    assert (head.status_int, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole))
    assert fetched_before == "fetched", "sent() has fetched it"


def test_whoever_has_not_the_right_code_gets_one_and_the_same_answer(sqlite_world: World):
    world = sqlite_world
    url, _ = sent(world, b"x")
    other, _ = sent(world, b"y", "?to=bob@b.example")
    user = str(url.recipient)
    never = url.path[:-4] + "aaaa"
    answers = [
        call(world.a, url.path, authorization=basic(user, "wrong")),
        call(world.a, url.path, authorization=basic(user, other.code)),
        call(world.a, url.path, authorization=basic("cheryl@b.example", url.code)),
        call(world.a, url.path, authorization=basic(user, "")),
        call(world.a, url.path, authorization=basic(user, "ünïcode:with:colons")),
        call(world.a, url.path, authorization=basic(user, "x" * 900)),
        call(world.a, url.path, authorization=basic("alice@a.example", "wrong")),
        call(world.a, never, authorization=basic(user, url.code)),
    ]
    assert {answer.status_int for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"] == 'Basic realm="xhmtp", charset="UTF-8"'


def test_another_user_of_the_senders_agent_is_nobody_to_it(sqlite_world: World):
    url, whole = sent(sqlite_world, b"x")
    sqlite_world.a.agent.accounts.add(Endpoint.parse("dora@a.example"), "explorer")
    dora = call(sqlite_world.a, url.path, authorization=basic("dora@a.example", "explorer"))
    assert dora.status_int == 401
    alice = call(sqlite_world.a, url.path, authorization=basic("alice@a.example", "wonderland"))
    assert alice.body == whole


def test_who_has_moved_fetches_under_his_old_name_and_his_new_one(world: World):
    url, whole = sent(world, b"x")
    with world.a.agent.database.transaction() as connection:
        connection.execute(update(deliveries).values(moved_to="bob@c.example"))
    for name, status in (("bob@b.example", 200), ("bob@c.example", 200), ("bob@d.example", 401)):
        answer = call(world.a, url.path, authorization=basic(name, url.code))
        assert (answer.status_int, answer.body == whole) == (status, status == 200)


def test_a_message_fetched_before_its_notification_is_noted_still_has_that_noted(world: World):
    path = world.inject().headers["Location"]
    with world.a.agent.database.reading() as connection:
        code = connection.execute(select(deliveries.c.code)).scalar_one()
    # bob was told, and was quicker than alice's notifier is with noting it.
    assert call(world.a, path, authorization=basic("bob@b.example", code)).status_int == 200
    assert _state(world, path) == "queued"
    assert world.notify().notified == 1
    assert _state(world, path) == "fetched"


def test_a_user_name_that_a_reader_left_percent_encoded_is_understood(sqlite_world: World):
    url, whole = sent(sqlite_world, b"x")
    user = quote(str(url.recipient), safe="")
    answer = call(sqlite_world.a, url.path, authorization=basic(user, url.code))
    assert answer.body == whole


def test_what_strangers_wrote_can_do_nothing_in_the_sites_origin(sqlite_world: World):
    url, _ = sent(sqlite_world, b"<script>alert(1)</script>")
    answers = [
        get(sqlite_world, url),
        sqlite_world.feed(),
        call(sqlite_world.a, url.path),
        call(sqlite_world.a, "/xhmtp/nothing"),
    ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"].startswith("private")
        assert "Set-Cookie" not in answer.headers
    assert answers[0].headers["Content-Disposition"].startswith("attachment;")


def _state(world: World, path: str) -> str:
    status = call(world.a, f"{path}/status", authorization=basic("alice@a.example", "wonderland"))
    return str(status.json["recipients"][0]["state"])
