"""Every parser that meets the network: what it takes is well-formed; else it says so."""

import contextlib
import dataclasses
import gc
import itertools
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xhmtp_wsgi.errors import Malformed, MalformedAddress, MalformedMessage, TooLarge, XHMTPError
from xhmtp_wsgi.protocol.access_code import hash_code, matches, new_code, new_identifier
from xhmtp_wsgi.protocol.basic_authentication import parse_authorization
from xhmtp_wsgi.protocol.digest import parse_repr_digest, repr_digest
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import addresses, clean_xml, display
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.protocol.message import NewlineConverter
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import Notification, encode, header_block_for
from xhmtp_wsgi.protocol.prefix import parse_prefix

BOB = Endpoint("bob", "b.example")
label = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=10)
hostname = st.lists(label, min_size=1, max_size=4).map(lambda found: ".".join([*found, "example"]))
local = st.text(
    string.ascii_letters + string.digits + "!#$%&'*+=?^_`{|}~-", min_size=1, max_size=20
)
endpoints = st.builds(Endpoint, local, hostname)
# Text that is nearly right finds more than text that is nothing at all.
nearly = st.text(
    string.ascii_letters + string.digits + '@.:/%-<>,;()"\\\r\n\t \0é\u202e', max_size=80
)


@given(endpoints)
def test_an_endpoint_survives_being_written_and_read(endpoint: Endpoint):
    assert Endpoint.parse(str(endpoint)) == endpoint


@given(nearly | st.text())
def test_an_endpoint_that_is_taken_has_nothing_that_could_split_a_line_or_a_path(text: str):
    try:
        endpoint = Endpoint.parse(text)
    except MalformedAddress:
        return
    assert str(endpoint).isascii()
    assert str(endpoint).isprintable()
    assert "/" not in str(endpoint)
    assert str(endpoint).count("@") == 1
    assert len(str(endpoint)) <= 254


@pytest.mark.parametrize(
    "name",
    ["127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "①②⑦.0.0.1", "[::1]",
     "::1", "a..b", ".a", "-a.b", "a-.b", "a_b.c", "a b", "", ".", "x" * 64, "a." * 130,
     "bücher.de", "a\n", "a/b", "a:80", "1.2.3.4."],
)  # fmt: skip
def test_only_ldh_names_are_hosts(name: str):
    with pytest.raises(MalformedAddress):
        parse_hostname(name)


@given(nearly | st.text())
def test_a_prefix_that_is_taken_stays_a_path_below_the_root(text: str):
    try:
        prefix = parse_prefix(text)
    except Malformed:
        return
    assert not {"", ".", ".."} & set(prefix.split("/"))
    assert set(prefix) <= set(string.ascii_letters + string.digits + "._~-/")


urls = st.builds(
    MessageURL,
    st.sampled_from(["http", "https"]),
    hostname,
    st.none() | st.integers(1, 65535).filter(lambda port: port not in (80, 443)),
    endpoints,
    st.text(string.printable.strip() + " ", min_size=1, max_size=40).filter(str.isprintable),
    st.lists(label, min_size=1, max_size=4).map(lambda found: "/" + "/".join(found)),
)


@given(urls)
def test_a_message_url_survives_being_written_and_read(url: MessageURL):
    assert MessageURL.parse(url.with_credentials()) == url


@given(urls)
def test_a_message_url_shows_its_code_to_nobody_by_accident(url: MessageURL):
    secret = dataclasses.replace(url, code="ThisIsTheSecretCode")
    assert secret.code not in repr(secret) + str(secret) + secret.bare()


@given(nearly.map(lambda text: "http://bob%40b.example:x@" + text) | st.text())
def test_a_message_url_that_is_taken_means_one_thing(text: str):
    try:
        url = MessageURL.parse(text)
    except XHMTPError:
        return
    assert url.with_credentials().isascii()
    assert parse_hostname(url.host) == url.host
    assert MessageURL.parse(url.with_credentials()) == url


names = st.text(string.ascii_letters + "-", min_size=1, max_size=20)
blocks = st.binary(max_size=300) | st.lists(
    st.tuples(names, nearly | st.text(max_size=30)), max_size=6
).map(lambda fields: b"".join(f"{n}: {v}\r\n".encode("utf-8", "replace") for n, v in fields))


@given(blocks)
def test_a_header_block_that_is_taken_is_its_fields_and_nothing_else(block: bytes):
    try:
        fields = scan(block, 10_000)
    except MalformedMessage:
        return
    again = b"".join(field.raw for field in fields)
    assert again == block or again == block + b"\r\n"
    bare = again.replace(b"\r\n", b"")
    assert not any(octet < 32 and octet != 9 for octet in bare)
    assert 127 not in bare
    for field in fields:
        assert "\r" not in field.value
        assert "\n" not in field.value


def test_a_header_block_over_its_limit_is_too_large():
    with pytest.raises(TooLarge):
        scan(b"X: " + b"y" * 100, 50)


@pytest.mark.parametrize(
    ("block", "author"),
    [
        ("From: Bob <Bob@B.example>\r\n", "Bob@b.example"),
        ("fROM: a@b.c (x)\r\n", "a@b.c"),
        ("", None),
    ],
)
def test_a_notification_tells_its_author_and_its_values_by_name(block: str, author: str | None):
    url = MessageURL("http", "a.example", None, BOB, "code", "/xhmtp/alice/x")
    header = f"{block}SUBJECT: hello\r\nX-Other: not told\r\n"
    read = Notification.parse(encode(url, header.encode()), recipient=BOB)
    assert read.author == (None if author is None else Endpoint.parse(author))
    assert read.values == {field.name.lower(): field.value for field in read.fields}
    assert read.values["subject"] == "hello"
    assert "x-other" not in read.values


@given(st.binary(max_size=300) | nearly.map(lambda text: f"url={text}&headers={text}".encode()))
def test_a_form_is_taken_or_refused_and_nothing_else(body: bytes):
    with contextlib.suppress(Malformed, TooLarge):
        Notification.parse(body, recipient=BOB)


@given(urls, st.lists(st.tuples(names, st.text(string.ascii_letters, max_size=900)), max_size=40),
       st.integers(0, 2**40), st.binary(min_size=32, max_size=32))  # fmt: skip
def test_a_notification_survives_being_sent(url, extra, size, digest):
    from datetime import UTC, datetime

    block = b"From: alice@a.example\r\nSubject: hello\r\nTo: " + b"x@y.example,\r\n " * 3000
    block += b"z@y.example\r\n" + b"".join(f"Keywords: {v}\r\n".encode() for _, v in extra)
    header = header_block_for(
        scan(block, 10**6), size=size, digest=digest,
        expires=datetime(2027, 1, 1, tzinfo=UTC), recipient=url.recipient,
    )  # fmt: skip
    assert len(header) <= 16 << 10
    read = Notification.parse(encode(url, header), recipient=url.recipient)
    assert (read.url, read.content_length, read.digest) == (url, size, digest)
    kept = {field.name: field.value for field in read.fields}
    assert kept["From"] == "alice@a.example"
    assert kept["Subject"] == "hello"
    assert kept["To"] == str(url.recipient), "a To that is too long names the recipient alone"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bob@b.example", ["bob@b.example"]),
        ("Bob <bob@b.example>", ["bob@b.example"]),
        ('"Bob, the <x@y>" <bob@b.example>', ["bob@b.example"]),
        ("bob@b.example (Bob, (the) builder)", ["bob@b.example"]),
        ("Friends: a@b.c, Bob <d@e.f>;, g@h.i", ["a@b.c", "d@e.f", "g@h.i"]),
        ("undisclosed-recipients:;", []),
        ("a@b.c,, d@e.f", ["a@b.c", "d@e.f"]),
    ],
)
def test_addresses_are_found_in_a_list(value: str, found: list[str]):
    assert [str(address) for address in addresses(value)] == found


@pytest.mark.parametrize("value", ["bob", "<bob@b.c", "bob@b.c>", "a@b.c d@e.f", "<a@b.c> x",
                                   "(a@b.c", '"a"@b.c', "a@[1.2.3.4]", "<<a@b.c>>"])  # fmt: skip
def test_what_is_no_address_is_refused(value: str):
    with pytest.raises(MalformedMessage):
        addresses(value)


@given(nearly | st.text())
def test_an_address_list_is_taken_or_refused_and_nothing_else(value: str):
    with contextlib.suppress(MalformedMessage):
        addresses(value)


def test_a_list_takes_time_in_proportion_to_its_length():
    def taken(value: str) -> float:
        # Of this thread alone, and without the garbage of all tests before.
        gc.disable()
        start = time.thread_time()
        try:
            with contextlib.suppress(MalformedMessage):
                addresses(value)
            return time.thread_time() - start
        finally:
            gc.enable()

    for unit in ("a@b.example, ", '"', "(", "<", ",", '"\\', "a:", "((a)"):
        short, long = taken(unit * 4_000), taken(unit * 32_000)
        # 8 times as long: 8 times the time, and never the 64 times of what is quadratic.
        assert long < 32 * max(short, 0.01), unit


@given(
    st.text(st.characters(max_codepoint=127), max_size=1500)
    | st.text(string.ascii_letters + " ", max_size=1500)
)
def test_plain_text_is_shown_as_it_is_and_as_all_other_text_is(text: str):
    # An accent has it go the long way round.
    assert display(text)[:900] == display(f"\u00e9{text}")[1:].strip()[:900]


@given(st.text() | nearly)
def test_text_for_people_is_one_line_without_tricks(text: str):
    shown = display(text)
    assert not set("\r\n\0\u202e\u2066\u200f") & set(shown)
    assert len(shown) <= 998


@given(st.text(st.characters(exclude_categories=())))
def test_text_for_xml_is_xml(text: str):
    from xml.parsers import expat

    cleaned = clean_xml(text).replace("&", "").replace("<", "").replace("]]>", "")
    expat.ParserCreate().Parse(f"<x>{cleaned}</x>".encode(), True)


@given(st.text(st.characters(exclude_categories=())))
def test_any_string_may_be_tried_as_a_code(text: str):
    assert not matches(text, hash_code("the code"))
    assert matches(text, hash_code(text))


def test_codes_and_identifiers_are_random_and_safe_in_urls():
    codes = {new_code() for _ in range(1000)} | {new_identifier() for _ in range(1000)}
    assert len(codes) == 2000
    assert all(code.isalnum() and code.isascii() and len(code) >= 26 for code in codes)


@given(st.text() | nearly.map(lambda text: "Basic " + text))
def test_an_authorization_header_is_credentials_or_nothing(header: str):
    parse_authorization(header)


@given(st.binary(min_size=32, max_size=32), nearly)
def test_a_digest_survives_being_written_and_read(digest: bytes, other: str):
    assert parse_repr_digest(repr_digest(digest)) == digest
    assert parse_repr_digest("sha-512=:AAAA:, " + repr_digest(digest)) == digest
    parse_repr_digest(other)


@given(st.binary(max_size=200).map(lambda b: b.replace(b"\0", b"\n").replace(b"\1", b"\r")),
       st.lists(st.integers(0, 200), max_size=5))  # fmt: skip
def test_line_ends_are_converted_alike_however_a_message_is_cut(text: bytes, cuts: list[int]):
    converter = NewlineConverter()
    points = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(points)]
    assert b"".join(converter.feed(piece) for piece in pieces) == NewlineConverter().feed(text)
