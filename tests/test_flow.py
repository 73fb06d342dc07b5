"""The life of a message, step by step, in the protocol's words: read this first."""

from email.message import EmailMessage
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from sqlalchemy import select
from webob import Response

from tests.world import MESSAGE, World, basic, call
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.sender import queue
from xhmtp_wsgi.sender.retry import RetrySchedule
from xhmtp_wsgi.sender.tables import deliveries


def test_the_life_of_a_message(world: World):
    # Injection: stored and queued before it is answered.
    created = world.inject()
    assert created.status_int == 201
    location = created.headers["Location"]
    assert urlsplit(location).netloc == "", "no host in it that the client may have made up"

    # Notification: bob's agent is told, and keeps it.
    assert world.notify().notified == 1
    assert world.network.posts == [("server.b.example", "/in/box/bob%40b.example")]

    # bob's feed has one item, which leads to the sender's agent.
    item = ElementTree.fromstring(world.feed().body).find("./channel/item")
    assert item is not None
    assert item.findtext("title") == "hello"
    assert item.findtext("author") == "alice@a.example"
    link = MessageURL.parse(item.findtext("link") or "")
    assert link.host == "server.a.example"
    assert link.path == location

    # Fetching: the message with the code in the URL, and its digest.
    fetched = call(world.a, link.path, authorization=basic(str(link.recipient), link.code))
    assert fetched.status_int == 200
    assert fetched.content_type == "message/rfc822"
    assert fetched.body.endswith(b"\r\n\r\nDear Bob\r\n")
    assert fetched.headers["Repr-Digest"] == created.json["digest"]

    # alice sees that it was fetched.
    status = call(world.a, f"{location}/status", authorization=basic("alice", "wonderland"))
    assert [recipient["state"] for recipient in status.json["recipients"]] == ["fetched"]


def test_the_same_notification_again_changes_nothing(world: World):
    world.inject()
    now = world.clock()
    terms = queue.Terms("a test", 1, _schedule(), 3600)
    claims = queue.claim(
        world.a.agent.database, {"b.example": 1}, now=now, due_by=now, terms=terms
    )["b.example"].claims
    assert len(claims) == 1
    queue.release(world.a.agent.database, claims, world.clock())
    world.clock.now += 2
    form = _form(world, claims[0].message, claims[0].code)
    first = _post(world, form)
    again = _post(world, form)
    assert (first.status_int, again.status_int) == (201, 200)
    assert len(_items(world)) == 1


def test_a_withdrawn_message_is_gone(world: World):
    location = world.inject().headers["Location"]
    world.notify()
    link = MessageURL.parse(_items(world)[0].findtext("link") or "")
    answer = call(
        world.a, location, method="DELETE", authorization=basic("alice@a.example", "wonderland")
    )
    assert answer.json["recipients"][0]["state"] == "withdrawn"
    fetched = call(world.a, link.path, authorization=basic(str(link.recipient), link.code))
    assert fetched.status_int == 410
    assert fetched.content_type == "application/problem+json"
    assert world.rows()["message_piece"] == 0, "its octets are gone"


def test_an_expired_message_is_gone(world: World):
    world.inject()
    world.notify()
    link = MessageURL.parse(_items(world)[0].findtext("link") or "")
    world.clock.now += 31 * 86400
    fetched = call(world.a, link.path, authorization=basic(str(link.recipient), link.code))
    assert fetched.status_int == 410


def test_after_the_notification_only_a_hash_of_the_code_is_kept(world: World):
    world.inject()
    world.notify()
    link = MessageURL.parse(_items(world)[0].findtext("link") or "")
    with world.a.agent.database.reading() as connection:
        row = connection.execute(select(deliveries)).one()
    assert link.code not in map(str, row)
    assert row.code is None


def test_what_alice_has_sent_is_listed(world: World):
    for number in range(3):
        world.clock.now += 1
        world.inject(MESSAGE.replace(b"hello", f"hello {number}".encode()))
    listed = call(world.a, "/xhmtp/alice/", authorization=basic("alice@a.example", "wonderland"))
    sent = [message["sent"] for message in listed.json["messages"]]
    assert len(sent) == 3
    assert sent == sorted(sent, reverse=True)


def test_a_program_of_the_sites_hands_in_an_email_message(world: World):
    message = EmailMessage()
    message["From"] = "alice@a.example"
    message["Subject"] = "from the site"
    message.set_content("hello\n")
    identifier = world.a.submit(message, sender="alice@a.example", recipients=["bob@b.example"])
    world.notify()
    assert identifier in (_items(world)[0].findtext("link") or "")


def _items(world: World) -> list[ElementTree.Element]:
    return ElementTree.fromstring(world.feed().body).findall("./channel/item")


def _schedule() -> RetrySchedule:
    return RetrySchedule(60, 3600, 86400)


def _form(world: World, message: str, code: str) -> bytes:
    url = f"http://bob%40b.example:{code}@server.a.example/xhmtp/alice/{message}"
    return urlencode({"url": url, "headers": "Subject: by hand"}).encode()


def _post(world: World, form: bytes) -> Response:
    return call(
        world.b, "/in/box/bob%40b.example", method="POST", body=form,
        content_type="application/x-www-form-urlencoded", address="192.0.2.1",
    )  # fmt: skip
