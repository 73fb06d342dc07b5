"""A new message is what its author has filled in; replies and forwards begin as they should."""

import email
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default as parsed_by_python

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xhmtp_wsgi.errors import MalformedAddress, MalformedMessage
from xhmtp_wsgi.protocol.composed_parts import file_name, media_type
from xhmtp_wsgi.protocol.composing import (
    MOST_REFERENCES,
    NewAttachment,
    NewMessage,
    compose,
    forward_of,
    header_fields,
    reply_to,
)
from xhmtp_wsgi.protocol.conversation import thread_of
from xhmtp_wsgi.protocol.encoded_fields import one_line
from xhmtp_wsgi.protocol.mailbox_list import MAX_NAME, Mailbox, header_mailboxes, typed_mailboxes
from xhmtp_wsgi.protocol.message import Preamble, prepare, split_header
from xhmtp_wsgi.protocol.signed_message import find_signature, sign_message
from xhmtp_wsgi.protocol.writing_time import written_at

WHEN = datetime(2027, 1, 15, 9, 30, tzinfo=UTC)
ID = "<one@a.example>"
BOB, CAROL = "bob@b.example", "carol@c.example"


def composed(new: NewMessage) -> bytes:
    return compose(new, date=WHEN, message_id=ID)


def prepared(octets: bytes) -> Preamble:
    end = split_header(octets)
    assert end is not None
    return prepare(
        octets[:end], now=WHEN, domain="a.example", new_identifier=lambda: "x", limit=1 << 20
    )


def parsed(octets: bytes) -> EmailMessage:
    found = email.message_from_bytes(octets, policy=parsed_by_python)
    assert isinstance(found, EmailMessage)
    return found


def text_in(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def as_kept(text: str) -> str:
    """The text with the line ends of Unix, the last line ended too."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in lines)
    return lines if not lines or lines.endswith("\n") else lines + "\n"


def as_shown(name: str) -> str:
    """A name without what hides in it."""
    kept = (
        one
        for one in one_line(name)[:MAX_NAME].strip()
        if unicodedata.category(one) != "Cf" or one in "\u200c\u200d"
    )
    return " ".join("".join(kept).split())


# Whatever is filled in

anything = st.text(max_size=200)
names = st.one_of(
    anything,
    st.text('"\\<>()[],;:@. =?\u202e\r\nÄ', max_size=40),
    st.sampled_from(["=?utf-8?q?x?=", "Doe, Jane", 'The "Boss"', "x" * 150, "ж" * 150]),
)
attachments = st.builds(
    NewAttachment,
    name=st.one_of(anything, st.sampled_from(["a.txt", "../../etc/passwd", "ü" * 300 + ".pdf"])),
    type=st.one_of(
        anything,
        st.sampled_from(
            ["text/plain", "text/html; charset=utf-16", "message/rfc822", "multipart/mixed",
             "IMAGE/png", "application/pdf\r\nX: y"]
        ),
    ),
    octets=st.one_of(
        st.binary(max_size=300),
        st.sampled_from([b"From: x\r\n\r\n--=_", b"\r\n", b"A: b\n\nc", "Grüße".encode(), b"\xff"]),
    ),
)  # fmt: skip


@given(subject=st.one_of(anything, st.text(max_size=900)), text=anything)
@example(subject="=?utf-8?q?already?=", text="x" * 5000)
@example(subject="x" * 900, text="\n".join(["ü" * 600] * 3))
@example(subject="a" * 70 + " " + "b" * 80, text="From here\n.\n--=_\n")
@example(subject="\r\nBcc: mallory@x.example", text="\0\x85\u2028\x0c\x1c x \t\n \n")
def test_any_subject_and_text_arrive(subject: str, text: str):
    octets = composed(NewMessage("alice@a.example", (BOB,), subject=subject, text=text))
    preamble = prepared(octets)
    assert [str(one) for one in preamble.recipients] == [BOB]
    assert str(preamble.sender) == "alice@a.example"
    assert preamble.message_id == ID
    message = parsed(octets)
    assert str(message["Subject"] or "") == one_line(subject)
    assert text_in(message) == as_kept(text)
    assert header_fields(octets).keys() <= {
        "from", "to", "subject", "date", "message-id", "mime-version", "content-type",
        "content-transfer-encoding",
    }  # fmt: skip


@given(texts=st.lists(names, min_size=4, max_size=4))
def test_any_name_stays_a_name(texts: list[str]):
    endpoints = [typed_mailboxes(one)[0].endpoint for one in (BOB, CAROL, "d@d.example")]
    written = [
        str(Mailbox(one_line(name), endpoint))
        for name, endpoint in zip(texts[1:], endpoints, strict=True)
    ]
    sender = str(Mailbox(one_line(texts[0]), typed_mailboxes("alice@a.example")[0].endpoint))
    octets = composed(NewMessage(sender, tuple(written[:2]), tuple(written[2:])))
    preamble = prepared(octets)
    assert [str(one) for one in preamble.recipients] == [str(one) for one in endpoints]
    found = header_fields(octets)
    for value, given_names in ((found["from"], texts[:1]), (found["to"], texts[1:3])):
        shown = [mailbox.name for mailbox in header_mailboxes(value)]
        assert shown == [as_shown(name) for name in given_names]


@given(given_ones=st.lists(attachments, min_size=1, max_size=3), text=anything)
def test_whatever_is_attached_arrives_octet_by_octet(given_ones: list[NewAttachment], text: str):
    new = NewMessage("alice@a.example", (BOB,), text=text, attachments=tuple(given_ones))
    message = parsed(composed(new))
    prepared(composed(new))
    body, *found = list(message.iter_parts())
    assert str(body.get_content()).replace("\r\n", "\n") == as_kept(text)
    assert len(found) == len(given_ones)
    for part, attachment in zip(found, given_ones, strict=True):
        assert part.get_content_disposition() == "attachment"
        assert part.get_filename() == file_name(attachment.name)
        if part.get_content_type() == "message/rfc822":
            assert attachment.type == "message/rfc822"
        else:
            assert part.get_payload(decode=True) == attachment.octets


@given(text=anything)
def test_no_line_is_too_long_and_every_line_ends_in_crlf(text: str):
    new = NewMessage(
        str(Mailbox(one_line(text), typed_mailboxes("alice@a.example")[0].endpoint)),
        (BOB,) * 30,
        subject=text * 4,
        text=text * 20,
        references=" ".join(f"<{'r' * 200}{number}@a.example>" for number in range(100)),
        attachments=(NewAttachment(text, "text/plain", text.encode("utf-8", "replace") * 9),),
    )
    octets = composed(new)
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert b"\r" not in octets.replace(b"\r\n", b"")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    header = octets[: octets.index(b"\r\n\r\n")].split(b"\r\n")
    assert max(len(line) for line in header if b"@a.example>" not in line) <= 78


# What its author sees of it


def test_a_plain_message_is_plain_to_read():
    new = NewMessage(
        "Alice <alice@a.example>", (BOB, '"Roe, Carol" <carol@c.example>'),
        subject="Grüße aus Köln", text="Dear Bob,\n\nüber Nacht.",
    )  # fmt: skip
    assert (
        composed(new)
        == (
            "From: Alice <alice@a.example>\r\n"
            'To: bob@b.example, "Roe, Carol" <carol@c.example>\r\n'
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=\r\n"
            "Date: Fri, 15 Jan 2027 09:30:00 +0000\r\n"
            "Message-ID: <one@a.example>\r\n"
            "MIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: 8bit\r\n"
            "\r\n"
            "Dear Bob,\r\n\r\nüber Nacht.\r\n"
        ).encode()
    )


def test_long_lines_are_quoted_printable_and_others_are_left_alone():
    assert b"Encoding: 7bit" in composed(NewMessage("a@a.example", text="plain"))
    assert b"Encoding: 8bit" in composed(NewMessage("a@a.example", text="ü" * 400))
    assert b"Encoding: quoted-printable" in composed(NewMessage("a@a.example", text="ü" * 500))


def test_bcc_is_told_to_injection_and_to_nobody_else():
    preamble = prepared(composed(NewMessage("a@a.example", (BOB,), bcc=(CAROL,))))
    assert [str(one) for one in preamble.recipients] == [BOB, CAROL]
    assert b"carol" not in preamble.header


def test_a_forwarded_message_goes_along_as_it_is():
    inner = composed(NewMessage("a@a.example", (BOB,), subject="inner", text="as it was"))
    attachment = NewAttachment("inner.eml", "message/rfc822", inner)
    outer = composed(NewMessage("b@b.example", (CAROL,), attachments=(attachment,)))
    assert inner in outer
    _, part = list(parsed(outer).iter_parts())
    assert part.get_content_type() == "message/rfc822"
    found = part.get_content()
    assert isinstance(found, EmailMessage)
    assert found["Subject"] == "inner"


def test_a_boundary_that_stands_in_the_text_is_another_one():
    once = composed(NewMessage("a@a.example", attachments=(NewAttachment("a", "a/b", b"x"),)))
    edge = once.split(b'boundary="')[1].partition(b'"')[0].decode()
    attachment = NewAttachment("a", "a/b", b"x")
    again = parsed(
        composed(NewMessage("a@a.example", text=f"--{edge}\nx", attachments=(attachment,)))
    )
    assert again.get_boundary() != edge
    assert text_in(again) == f"--{edge}\nx\n"


def test_what_is_composed_can_be_signed():
    attachment = NewAttachment("a", "a/b", b"x")
    for new in (NewMessage("a@a.example", (BOB,), text="ü"),
                NewMessage("a@a.example", (BOB,), attachments=(attachment,))):  # fmt: skip
        signed = sign_message(composed(new), lambda pieces: "SIGNATURE", "0123456789")
        found = find_signature(signed)
        assert found is not None
        assert found.protected["to"] == BOB


@pytest.mark.parametrize("sender", ["", "alice", "a@a.example, b@b.example", "<a@a.example", "x@"])
def test_a_message_without_one_sender_is_refused(sender: str):
    with pytest.raises((MalformedAddress, MalformedMessage)):
        composed(NewMessage(sender))


@pytest.mark.parametrize(
    "address",
    ["bob", "bob@", "<bob@b.example", "bob@b.example>", '"bob@b.example', "(bob@b.example",
     "bob@b.example x", "Bob <bob@b.example> x", "<<bob@b.example>>", "bob@b_c.example",
     "a@a.example b@b.example", "x:y:bob@b.example"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(MalformedAddress):
        composed(NewMessage("a@a.example", (address,)))


@given(anything)
def test_whatever_is_typed_for_an_address_is_one_or_is_refused(text: str):
    with suppress(MalformedAddress):
        typed_mailboxes(text)


@pytest.mark.parametrize("message_id", ["", "x", "<a b>", "<a>\r\nX: y", "<" + "a" * 250 + ">"])
def test_a_message_id_that_is_none_is_refused(message_id: str):
    with pytest.raises(MalformedMessage):
        compose(NewMessage("a@a.example"), date=WHEN, message_id=message_id)


def test_a_subject_that_is_too_long_is_refused():
    with pytest.raises(MalformedMessage, match="998"):
        composed(NewMessage("a@a.example", subject="x" * 999))


def test_people_type_lists_in_several_ways():
    typed = 'bob@b.example; "Roe, C." <carol@c.example>\n Team: d@d.example, e@e.example;,'
    found = typed_mailboxes(typed)
    assert [str(one.endpoint) for one in found] == [BOB, CAROL, "d@d.example", "e@e.example"]
    assert found[1].name == "Roe, C."
    assert typed_mailboxes(" ,; \n") == ()


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [("a.txt", "a.txt"), ("../../etc/passwd", "passwd"), ("C:\\x\\y.doc", "y.doc"),
     ("", "attachment"), ("..", "attachment"), ("a\r\nX: y.txt", "a X: y.txt"),
     ("evil\u202etxt.exe", "eviltxt.exe"),
     (".bashrc", "bashrc")],
)  # fmt: skip
def test_a_files_name_is_made_harmless(given_name: str, kept: str):
    assert file_name(given_name) == kept


def test_a_long_file_name_keeps_its_ending():
    assert file_name("x" * 500 + ".pdf") == "x" * 196 + ".pdf"
    assert len(file_name("x." + "y" * 500)) == 200


def test_an_unknown_media_type_is_octets():
    assert media_type("Image/PNG; name=x") == "image/png"
    for given_type in ("", "x", "a/b/c", "text/plain\r\nX: y", "ü/x"):
        assert media_type(given_type) == "application/octet-stream"


# Replies and forwards

ORIGINAL = {
    "from": "Alice <alice@a.example>",
    "to": "Bob <bob@b.example>, =?utf-8?q?=C3=84nne?= <dan@d.example>",
    "cc": "carol@c.example, BOB@b.example, bob+lists@b.example, alice@a.example",
    "subject": "Re: RE: Aw: lunch",
    "date": "Fri, 15 Jan 2027 09:30:00 +0000",
    "message-id": "<2@a.example>",
    "references": "<1@b.example>",
}


def test_a_reply_goes_to_the_author_and_belongs_to_the_conversation():
    reply = reply_to(ORIGINAL, "Shall we?\n\n> earlier\n-- \nAlice\n", BOB, everybody=False)
    assert (reply.to, reply.cc) == (("Alice <alice@a.example>",), ())
    assert reply.subject == "Re: lunch"
    assert reply.in_reply_to == "<2@a.example>"
    assert reply.references == "<1@b.example> <2@a.example>"
    assert reply.text == (
        "\n\nOn 15 January 2027 at 09:30, Alice <alice@a.example> wrote:\n"
        "> Shall we?\n>\n>> earlier"
    )
    sent = header_fields(composed(reply))
    assert thread_of(sent) == thread_of(ORIGINAL)


def test_a_reply_to_all_leaves_the_answerer_out_and_names_each_once():
    reply = reply_to(ORIGINAL, "x", BOB, everybody=True)
    assert reply.to == ("Alice <alice@a.example>",)
    assert reply.cc == ("Änne <dan@d.example>", "carol@c.example")
    prepared(composed(reply))


def test_a_reply_goes_where_the_author_wants_it():
    fields = {**ORIGINAL, "reply-to": "Team <team@a.example>"}
    assert reply_to(fields, "", BOB, everybody=False).to == ("Team <team@a.example>",)
    assert "Alice" not in " ".join(reply_to(fields, "", BOB, everybody=False).cc)


def test_who_answers_himself_writes_to_the_same_people_again():
    reply = reply_to(ORIGINAL, "x", "alice@a.example", everybody=True)
    assert reply.to == ("Bob <bob@b.example>", "Änne <dan@d.example>")
    assert reply.cc == ("carol@c.example", "bob+lists@b.example")


@pytest.mark.parametrize("fields", [{}, {"from": ""}, {"from": BOB, "to": BOB}])
def test_what_names_nobody_cannot_be_answered(fields: dict[str, str]):
    with pytest.raises(MalformedMessage, match="nobody"):
        reply_to(fields, "x", BOB, everybody=True)


def test_a_name_that_is_decoded_to_addresses_is_no_address():
    # "x" <mallory@evil.example>, "
    hidden = "=?utf-8?b?IngiIDxtYWxsb3J5QGV2aWwuZXhhbXBsZT4sICI=?= <alice@a.example>"
    reply = reply_to({"from": hidden}, "x", BOB, everybody=True)
    assert [str(one) for one in prepared(composed(reply)).recipients] == ["alice@a.example"]


def test_a_long_conversation_keeps_its_first_and_its_last_messages():
    fields = {**ORIGINAL, "references": " ".join(f"<{number}@a.example>" for number in range(500))}
    found = header_fields(composed(reply_to(fields, "", BOB, everybody=False)))[
        "references"
    ].split()
    assert len(found) == MOST_REFERENCES
    assert (found[0], found[-2:]) == ("<0@a.example>", ["<499@a.example>", "<2@a.example>"])


@given(st.dictionaries(
    st.sampled_from(["from", "to", "cc", "reply-to", "subject", "date", "message-id",
                     "references", "in-reply-to"]),
    st.one_of(anything, st.just("Alice <alice@a.example>"), st.just("<x@y>")), max_size=9,
), anything)  # fmt: skip
def test_whatever_strangers_wrote_a_reply_is_a_message_or_is_refused(
    fields: dict[str, str], text: str
):
    prepared(composed(forward_of(fields, text, BOB)))
    try:
        reply = reply_to(fields, text, BOB, everybody=True)
    except (MalformedAddress, MalformedMessage):
        return
    prepared(composed(reply))


def test_a_forward_shows_what_it_passes_on():
    attachment = NewAttachment("a", "a/b", b"x")
    forward = forward_of(ORIGINAL, "Shall we?\n", BOB, attachments=(attachment,))
    assert forward.subject == "Fwd: Re: RE: Aw: lunch"
    assert forward.to == ()
    assert forward.attachments == (attachment,)
    assert forward.text.splitlines()[2:8] == [
        "---------- Forwarded message ----------",
        "From: Alice <alice@a.example>",
        "Date: Fri, 15 Jan 2027 09:30:00 +0000",
        "Subject: Re: RE: Aw: lunch",
        "To: Bob <bob@b.example>, Änne <dan@d.example>",
        "Cc: carol@c.example, BOB@b.example, bob+lists@b.example, alice@a.example",
    ]
    assert forward.text.endswith("\n\nShall we?\n")
    assert forward_of({"subject": "Fwd: x"}, "", BOB).subject == "Fwd: x"


def test_the_fields_of_a_message_and_of_a_notice_are_read_alike():
    octets = composed(NewMessage("a@a.example", (BOB,), subject="ü", text="x\n\ny: z"))
    block = octets[: octets.index(b"\r\n\r\n") + 2]
    assert header_fields(octets) == header_fields(block)
    assert header_fields(b"") == {}


RECEIVED = 1_800_000_000.0


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("Fri, 15 Jan 2027 07:00:00 +0000", RECEIVED - 3600),
        ("Fri, 15 Jan 2027 10:00:00 +0100", RECEIVED + 3600),  # a clock that is ahead
        ("Mon, 18 Jan 2027 08:00:00 +0000", RECEIVED),
        ("Thu, 01 Jan 1970 00:00:00 +0000", RECEIVED),
        ("Fri, 31 Dec 9999 23:59:59 -2359", RECEIVED),
        ("yesterday", RECEIVED),
        ("", RECEIVED),
    ],
)
def test_a_conversation_is_in_the_order_of_writing(date: str, moment: float):
    assert written_at({"date": date} if date else {}, RECEIVED) == moment


@given(anything)
def test_whatever_stands_in_date_a_message_has_its_place(date: str):
    assert 0 < written_at({"date": date}, RECEIVED) <= RECEIVED + 86400
