"""Django's send_mail() by XHMTP: all of it, or what goes to domains that have XHMTP."""

import email.policy
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives, send_mail
from django.test.utils import override_settings

from tests.django_project import project, user
from tests.fakes.resolver import FakeResolver
from xhmtp_wsgi.errors import MalformedMessage, Misdirected
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sender import outbox

ZONE = """
_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.
_prefix._xhmtp.b.example. 60 TXT "xhmtp"
_xhmtp._tcp.none.example. 60 SRV 0 0 80 .
"""
OURS = "xhmtp_wsgi.django.mail.EmailBackend"
MIXED = "xhmtp_wsgi.django.mail.MixedEmailBackend"
ALICE = Endpoint.parse("alice@a.example")


@pytest.fixture
def resolver() -> FakeResolver:
    return FakeResolver(ZONE, failing={"_xhmtp._tcp.down.example", "_xhmtps._tcp.down.example"})


@pytest.fixture(params=[OURS])
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, resolver: FakeResolver
) -> Iterator[str]:
    """A project that sends by one of our backends; others get what they are given (mail.outbox)."""
    other = "django.core.mail.backends.locmem.EmailBackend"
    with project(tmp_path, resolver, EMAIL_BACKEND=request.param, XHMTP_OTHER_EMAIL_BACKEND=other):
        user("alice", "wonderland")
        user("cheryl", "crow")
        mail.outbox = []
        yield request.param


mixed = pytest.mark.parametrize("backend", [MIXED], indirect=True)


def handed_in() -> list[tuple[list[str], Any]]:
    """What alice's outbox has, oldest first: its recipients, and the message."""
    from xhmtp_wsgi.django import the_agent

    database = the_agent().database
    found = []
    for kept in reversed(outbox.sent(database, ALICE, limit=100, skip=0)):
        octets = b"".join(outbox.octets(database, kept.identifier, 0, kept.size))
        assert octets.count(b"\n") == octets.count(b"\r\n") == octets.count(b"\r")
        recipients = [one.recipient for one in outbox.statuses(database, kept.identifier)]
        message = message_from_bytes(octets, policy=email.policy.default)
        found.append((sorted(recipients), message))
    return found


def test_send_mail_hands_in_what_django_wrote(backend: str):
    assert send_mail("Grüße", "Dear Bob,\nhello", None, ["Bob <bob@b.example>"]) == 1
    [(recipients, message)] = handed_in()
    assert recipients == ["bob@b.example"]
    assert message["Subject"] == "Grüße"
    assert message["From"] == "alice@a.example"
    assert message["To"] == "Bob <bob@b.example>"
    assert message["Message-ID"]
    assert message.get_payload(decode=True) == b"Dear Bob,\r\nhello"


def test_copies_go_out_and_blind_ones_are_not_told_of(backend: str):
    message = EmailMessage(
        "hello", "x", to=["bob@b.example"], cc=["c@b.example"], bcc=["d@b.example"],
        headers={"Reply-To": "shop@a.example", "X-Shop": "1"},
    )  # fmt: skip
    assert message.send() == 1
    [(recipients, stored)] = handed_in()
    assert recipients == ["bob@b.example", "c@b.example", "d@b.example"]
    assert "d@b.example" not in stored.as_string()
    assert stored["Cc"] == "c@b.example"


def test_an_alternative_and_an_attachment_arrive_whole(backend: str):
    message = EmailMultiAlternatives("hello", "text\r\n\rand more", to=["bob@b.example"])
    message.attach_alternative("<p>Grüße</p>", "text/html")
    message.attach("a.bin", bytes(range(256)), "application/octet-stream")
    assert message.send() == 1
    [(_, stored)] = handed_in()
    kinds = [part.get_content_type() for part in stored.walk() if not part.is_multipart()]
    assert kinds == ["text/plain", "text/html", "application/octet-stream"]
    attached = list(stored.walk())[-1]
    assert attached.get_payload(decode=True) == bytes(range(256))


def test_many_messages_are_counted(backend: str):
    connection = mail.get_connection()
    messages = [EmailMessage(str(number), "x", to=["bob@b.example"]) for number in range(3)]
    assert connection.send_messages(messages) == 3
    assert connection.send_messages([EmailMessage("to nobody", "x")]) == 0
    assert connection.send_messages([]) == 0
    assert [message["Subject"] for _, message in handed_in()] == ["0", "1", "2"]


def test_a_sender_elsewhere_is_refused_and_says_so(backend: str, caplog: pytest.LogCaptureFixture):
    with pytest.raises(Misdirected):
        send_mail("x", "secret text", "x@elsewhere.example", ["bob@b.example"])
    assert send_mail("x", "secret text", "no address", ["b@b.example"], fail_silently=True) == 0
    assert "a message was not sent" in caplog.text
    assert "secret text" not in caplog.text
    assert handed_in() == []


@mixed
def test_each_recipient_is_told_by_the_way_that_his_domain_has(backend: str):
    everyone = ["bob@b.example", "e@elsewhere.example", "cheryl@a.example", "n@none.example"]
    message = EmailMessage("hello", "Dear all", to=everyone[:2], cc=everyone[2:3], bcc=everyone[3:])
    assert message.send() == 1
    [(recipients, stored)] = handed_in()
    assert recipients == ["bob@b.example", "cheryl@a.example"]
    [other] = mail.outbox
    assert sorted(other.recipients()) == ["e@elsewhere.example", "n@none.example"]
    written = other.message()
    # One message to all of them: whoever answers one, answers the other.
    for name in ("Message-ID", "Date", "From", "Subject", "To", "Cc"):
        assert written[name] == stored[name], name
    assert stored["To"] == "bob@b.example, e@elsewhere.example"
    assert written["Cc"] == "cheryl@a.example"
    assert "n@none.example" not in written.as_string()
    assert (message.to, message.bcc) == (everyone[:2], everyone[3:]), "the site's own is as it was"


@mixed
@pytest.mark.parametrize(
    ("recipient", "by_xhmtp"),
    [
        ("bob@b.example", True),
        ("Bob <bob@b.example>", True),
        ("alice@a.example", True),
        ("info@a.example", False),
        ("e@elsewhere.example", False),
        ("n@none.example", False),
        ("d@down.example", False),
        ("jürgen@b.example", False),
        ('"odd one"@b.example', False),
        ("root", False),
    ],
)
def test_where_it_cannot_go_by_xhmtp_it_goes_by_the_other(
    backend: str, recipient: str, by_xhmtp: bool
):
    assert send_mail("hello", "x", None, [recipient]) == 1
    assert [len(handed_in()), len(mail.outbox)] == ([1, 0] if by_xhmtp else [0, 1])


@mixed
def test_from_another_address_all_goes_by_the_other(backend: str):
    assert send_mail("hello", "x", "webmaster@localhost", ["bob@b.example"]) == 1
    assert handed_in() == []
    [other] = mail.outbox
    assert other.recipients() == ["bob@b.example"]


@mixed
def test_where_the_other_fails_nothing_was_sent_and_it_may_be_tried_again(
    backend: str, monkeypatch: pytest.MonkeyPatch
):
    def fails(self: Any, messages: Any) -> int:
        raise OSError("no mail server")

    both = ["bob@b.example", "e@elsewhere.example"]
    with monkeypatch.context() as patched:
        patched.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", fails)
        with pytest.raises(OSError, match="no mail server"):
            send_mail("hello", "x", None, both)
        assert handed_in() == []
    assert send_mail("hello", "x", None, both) == 1
    assert (len(handed_in()), len(mail.outbox)) == (1, 1)


def test_a_line_end_in_a_header_is_refused_as_django_does(backend: str):
    with pytest.raises((mail.BadHeaderError, ValueError, MalformedMessage)):
        send_mail("hello\nBcc: eve@b.example", "x", None, ["bob@b.example"])
    assert handed_in() == []


def test_mail_to_the_admins_goes_the_same_way(backend: str):
    with override_settings(ADMINS=[("Bob", "bob@b.example")], SERVER_EMAIL="alice@a.example"):
        mail.mail_admins("broken", "traceback")
    [(recipients, message)] = handed_in()
    assert recipients == ["bob@b.example"]
    assert message["Subject"].endswith("broken")
