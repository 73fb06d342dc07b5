"""What injection refuses: with the code that the protocol names, and no trace in the database."""

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select
from webob import Response

from tests.world import MESSAGE, World, basic, call
from xhmtp_wsgi.protocol.access_code import matches
from xhmtp_wsgi.sender.tables import deliveries

CASES: dict[str, tuple[bytes, dict[str, Any], int]] = {
    "no credentials": (MESSAGE, {"authorization": None}, 401),
    "a wrong password": (MESSAGE, {"authorization": basic("alice@a.example", "x")}, 401),
    "an unknown user": (MESSAGE, {"authorization": basic("carol@a.example", "x")}, 401),
    "not Basic": (MESSAGE, {"authorization": "Bearer wonderland"}, 401),
    "not base64": (MESSAGE, {"authorization": "Basic %%%"}, 401),
    "an 8-bit password": (MESSAGE, {"authorization": "Basic /zr/"}, 401),
    "another type": (MESSAGE, {"content_type": "text/plain"}, 415),
    "no type": (MESSAGE, {"content_type": ""}, 415),
    "a content coding": (MESSAGE, {"headers": {"Content-Encoding": "gzip"}}, 415),
    "somebody else's From": (MESSAGE.replace(b"From: alice", b"From: bob"), {}, 403),
    "somebody else's Sender": (b"Sender: bob@b.example\r\n" + MESSAGE, {}, 403),
    "no From": (MESSAGE.replace(b"From: alice@a.example\r\n", b""), {}, 403),
    "two authors": (MESSAGE.replace(b"From: alice@a.example", b"From: alice@a.example, b@c.d"),
                    {}, 400),
    "no recipient": (MESSAGE.replace(b"To: bob@b.example\r\n", b""), {}, 422),
    "a recipient that is none": (MESSAGE, {"query": "?to=bob@b.example&to=bob"}, 422),
    "nobody at our own domain": (MESSAGE, {"query": "?to=nobody@a.example"}, 422),
    "an empty body": (b"", {}, 400),
    "no header": (b"\r\nbody", {}, 400),
    "a bare LF": (MESSAGE.replace(b"Subject: hello", b"Subject: a\nX-Evil: b"), {}, 400),
    "a bare CR": (MESSAGE.replace(b"hello", b"a\rX-Evil: b"), {}, 400),
    "NUL": (MESSAGE.replace(b"hello", b"a\0b"), {}, 400),
    "a vertical tab": (MESSAGE.replace(b"hello", b"a\x0bb"), {}, 400),
    "DEL": (MESSAGE.replace(b"hello", b"a\x7fb"), {}, 400),
    "a line over 998 octets": (MESSAGE.replace(b"hello", b"a" * 1000), {}, 400),
    "eight bits that are not UTF-8": (MESSAGE.replace(b"hello", b"a\xff"), {}, 400),
    "a C1 control": (MESSAGE.replace(b"hello", "a\x85b".encode()), {}, 400),
    "a first line that continues": (b" x\r\n" + MESSAGE, {}, 400),
    "a continuation of white space": (MESSAGE.replace(b"hello", b"a\r\n \r\n b"), {}, 400),
    "a line without a colon": (MESSAGE.replace(b"Subject: hello", b"Subject hello"), {}, 400),
    "a space before the colon": (MESSAGE.replace(b"Subject:", b"Subject :"), {}, 400),
    "two Subjects": (b"Subject: first\r\n" + MESSAGE, {}, 400),
    "two Froms": (b"From: alice@a.example\r\n" + MESSAGE, {}, 400),
    "a Message-ID that is none": (b"Message-ID: x\r\n" + MESSAGE, {}, 400),
    "a To that is none": (MESSAGE.replace(b"bob@b.example", b"<bob@b.example"), {}, 400),
    "too many fields": (b"".join(b"X-%d: x\r\n" % n for n in range(300)) + MESSAGE, {}, 400),
    "a header over its limit": (b"X: " + b"a" * 900 + b"\r\n" + (b" " + b"a" * 900 + b"\r\n") * 1200
                                + MESSAGE, {}, 413),
    "a Content-Length that is none": (MESSAGE, {"environ": {"CONTENT_LENGTH": "abc"}}, 400),
    "a negative Content-Length": (MESSAGE, {"environ": {"CONTENT_LENGTH": "-5"}}, 400),
    "a body cut short": (MESSAGE, {"environ": {"CONTENT_LENGTH": "5000"}}, 400),
    "a chunked body of unknown end": (MESSAGE, {"environ": {
        "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}}, 411),
    "a body over the limit": (MESSAGE, {"environ": {"CONTENT_LENGTH": str(2 << 30)}}, 413),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_injection_refuses_leaves_no_trace(sqlite_world: World, name: str):
    message, options, status = CASES[name]
    before = sqlite_world.rows()
    answer = sqlite_world.inject(message, **options)
    assert answer.status_int == status, answer.body
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["detail"]
    assert sqlite_world.rows() == before


def test_each_impossible_recipient_is_named_with_its_reason(sqlite_world: World):
    answer = sqlite_world.inject(query="?to=bob&to=x@1.2.3.4&to=bob@b.example")
    assert set(answer.json["recipients"]) == {"bob", "x@1.2.3.4"}
    assert sqlite_world.rows()["delivery"] == 0, "nothing is sent to the others"


def test_another_users_outbox_is_forbidden(sqlite_world: World):
    answer = call(
        sqlite_world.a, "/xhmtp/bob/", method="POST", body=MESSAGE,
        content_type="message/rfc822", authorization=basic("alice@a.example", "wonderland"),
    )  # fmt: skip
    assert answer.status_int == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_a_wrong_method_is_told_the_right_ones(sqlite_world: World, method: str):
    answer = call(sqlite_world.a, "/xhmtp/alice/", method=method)
    assert answer.status_int == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_bcc_is_taken_out_and_told_all_the_same(world: World):
    message = MESSAGE.replace(b"Subject:", b"Bcc: carol@c.example\r\nSubject:")
    created = world.inject(message)
    assert [one["address"] for one in created.json["recipients"]] == [
        "bob@b.example", "carol@c.example",
    ]  # fmt: skip
    stored = call(
        world.a, created.headers["Location"], authorization=basic("alice@a.example", "wonderland")
    )
    assert b"carol" not in stored.body


def test_every_other_octet_stays_as_it_was(sqlite_world: World):
    header = (
        b"X-Folded: one\r\n\ttwo\r\nFrom: =?utf-8?q?Al=C3=ADce?= <alice@a.example>\r\n"
        b'To: "Bob, the" <bob@b.example>, Friends: bob@b.example;\r\n'
        b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n"
        b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.example>\r\n\r\n"
    )
    message = header + bytes(range(256)) * 3000
    created = sqlite_world.inject(message)
    assert created.status_int == 201, created.body
    stored = call(
        sqlite_world.a, created.headers["Location"],
        authorization=basic("alice@a.example", "wonderland"),
    )  # fmt: skip
    assert stored.body == message


def test_a_unix_text_file_gets_the_line_ends_of_mail(sqlite_world: World):
    created = sqlite_world.inject(MESSAGE.replace(b"\r\n", b"\n") + b"two\n\nthree\n")
    stored = call(
        sqlite_world.a, created.headers["Location"],
        authorization=basic("alice@a.example", "wonderland"),
    )  # fmt: skip
    assert stored.body.endswith(b"\r\n\r\nDear Bob\r\ntwo\r\n\r\nthree\r\n")
    assert b"\n" not in stored.body.replace(b"\r\n", b"")


def test_date_and_message_id_are_added_where_missing(sqlite_world: World):
    created = sqlite_world.inject()
    stored = call(
        sqlite_world.a, created.headers["Location"],
        authorization=basic("alice@a.example", "wonderland"),
    )  # fmt: skip
    assert b"\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n" in stored.body
    assert f"Message-ID: {created.json['message-id']}".encode() in stored.body


def test_the_same_message_id_from_the_same_sender_is_sent_once(world: World):
    message = b"Message-ID: <1@a.example>\r\n" + MESSAGE
    first, again = world.inject(message), world.inject(message)
    assert (first.status_int, again.status_int) == (201, 200)
    assert first.headers["Location"] == again.headers["Location"]
    assert world.rows()["delivery"] == 1


def test_a_message_that_is_handed_in_twice_at_one_moment_is_sent_once(world: World):
    message = b"Message-ID: <1@a.example>\r\n" + MESSAGE
    world.inject()  # what is done once only
    together = threading.Barrier(4)

    def hand_in(_: int) -> Response:
        together.wait(30.0)
        return world.inject(message)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(hand_in, range(4)))
    assert sorted(one.status_int for one in answers) == [200, 200, 200, 201]
    assert len({one.headers["Location"] for one in answers}) == 1
    assert world.rows()["delivery"] == 2


def test_each_recipient_gets_a_code_of_his_own(sqlite_world: World):
    sqlite_world.inject(query="?to=bob@b.example&to=cheryl@b.example&to=dan@b.example")
    with sqlite_world.a.agent.database.reading() as connection:
        found = connection.execute(select(deliveries.c.code, deliveries.c.code_hash)).all()
    assert len({row.code for row in found}) == 3
    assert all(re.fullmatch("[a-z2-7]{32}", row.code) for row in found), "160 random bits each"
    assert all(matches(row.code, row.code_hash) for row in found)


def test_what_is_refused_for_want_of_room_may_be_sent_later(world: World):
    message = b"Message-ID: <1@a.example>\r\n" + MESSAGE
    settings, before = world.a.agent.settings, world.rows()
    object.__setattr__(settings, "max_storage", 10)
    assert world.inject(message).status_int == 507
    assert world.rows() == before
    object.__setattr__(settings, "max_storage", 1000)
    assert world.inject(message).status_int == 201


def test_a_chunked_body_is_taken_where_the_server_tells_its_end(sqlite_world: World):
    environ = {
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(MESSAGE),
    }
    assert sqlite_world.inject(environ=environ).status_int == 201


def test_a_client_that_breaks_off_leaves_no_trace(sqlite_world: World):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("connection reset")

    before = sqlite_world.rows()
    answer = sqlite_world.inject(environ={"wsgi.input": Broken(), "CONTENT_LENGTH": "500"})
    assert answer.status_int == 400
    assert sqlite_world.rows() == before
