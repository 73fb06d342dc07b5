"""OpenPGP keys as people upload them: what gpg exports is read, and all else refused."""

import base64
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.gpg_home import GPGHome, gpg_home
from xhmtp_wsgi.errors import MalformedKey
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.openpgp_key import KEEP_TO_YOURSELF, MAX_OCTETS, OpenPGPKey, address_in

BOB = Endpoint.parse("bob@b.example")
ALGORITHMS = ("ed25519", "rsa3072", "nistp256", "dsa2048")
BEGIN, END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"


@pytest.fixture(scope="module")
def gpg() -> Iterator[GPGHome]:
    with gpg_home() as home:
        home.make_key("Bob <bob@b.example>")
        yield home


def packet(tag: int, body: bytes) -> bytes:
    """A packet with the newer form of header."""
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def old_packet(tag: int, body: bytes) -> bytes:
    """The same with the older form."""
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


KEY = packet(6, b"\x04" + bytes(40))
PERSON = packet(13, b"Bob <bob@b.example>")


def armoured(octets: bytes, *headers: str, checksum: str = "") -> bytes:
    """As gpg --armor writes it, and as RFC 9580 would have it: without a checksum."""
    text = base64.encodebytes(octets).decode()
    return "\n".join([BEGIN, *headers, "", text + checksum + END, ""]).encode()


def refused(octets: bytes) -> str:
    with pytest.raises(MalformedKey) as caught:
        OpenPGPKey.parse(octets)
    return str(caught.value)


# With gpg as the oracle


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_has_the_fingerprint_that_gpg_tells(algorithm: str):
    with gpg_home() as home:
        told = home.make_key("Bob <bob@b.example>", algorithm=algorithm, usage="sign")
        for given_key in (home.export(told), home.export(told, "--armor")):
            key = OpenPGPKey.parse(given_key)
            assert key.fingerprint == told
            assert key.user_ids == ("Bob <bob@b.example>",)
            assert key.is_of(BOB)
            assert key.octets == home.export(told)
            assert repr(key.octets)[2:30] not in repr(key)


def test_a_key_with_several_names_is_anybodys_of_them(gpg: GPGHome):
    fingerprint = gpg.make_key("Builder <Builder@B.Example>")
    gpg.run("--quick-add-uid", fingerprint, "Bob \N{SNOWMAN} <b.o.b@b.example>")
    key = OpenPGPKey.parse(gpg.export(fingerprint))
    assert set(key.user_ids) == {"Builder <Builder@B.Example>", "Bob \N{SNOWMAN} <b.o.b@b.example>"}
    assert key.is_of(Endpoint.parse("builder@b.example"))
    assert key.is_of(Endpoint.parse("B.O.B@b.example"))
    assert not key.is_of(BOB)


def test_a_secret_key_is_refused_in_words_of_its_own(gpg: GPGHome):
    for options in ((), ("--armor",)):
        secret = gpg.run(*options, "--export-secret-keys", "bob@b.example").stdout
        assert refused(secret) == KEEP_TO_YOURSELF
    subkeys = gpg.run("--export-secret-subkeys", "bob@b.example").stdout
    assert refused(subkeys) == KEEP_TO_YOURSELF
    assert refused(armoured(subkeys)) == KEEP_TO_YOURSELF, "whatever its armour says"


def test_two_keys_are_refused(gpg: GPGHome):
    gpg.make_key("Cheryl <cheryl@b.example>")
    two = gpg.run("--export", "bob@b.example", "cheryl@b.example").stdout
    assert "more than one key" in refused(two)
    one = gpg.export("bob@b.example", "--armor")
    assert "more than one key" in refused(one + one)


def test_a_message_and_a_signature_are_no_keys(gpg: GPGHome):
    signed = gpg.run("--local-user", "bob@b.example", "--sign", given=b"hello").stdout
    detached = gpg.run("--local-user", "bob@b.example", "--detach-sign", given=b"hello").stdout
    assert "no place in a key" in refused(signed), "it is compressed"
    assert "begins with a public key" in refused(detached)
    text = gpg.run("--local-user", "bob@b.example", "--clear-sign", given=b"hello").stdout
    assert "gpg --export" in refused(text)


@given(st.data())
def test_a_key_that_was_cut_or_changed_is_read_or_refused(data: st.DataObject):
    whole = KEY + PERSON + packet(2, bytes(70)) + old_packet(14, b"\x04" + bytes(40))
    place = data.draw(st.integers(0, len(whole) - 1))
    octet = data.draw(st.integers(0, 255))
    for broken in (whole[:place], whole[:place] + bytes([octet]) + whole[place + 1 :]):
        for given_key in (broken, armoured(broken)):
            try:
                key = OpenPGPKey.parse(given_key)
            except MalformedKey as error:
                assert "\n" not in str(error)
            else:
                assert len(key.fingerprint) in (40, 64)


@given(st.binary(max_size=400))
@example(b"\xff\xff")
@example(b"\x99")
@example(b"\xc6\xc0")
def test_whatever_is_uploaded_is_a_key_or_malformed(octets: bytes):
    for given_key in (octets, KEY + octets, armoured(octets), BEGIN.encode() + b"\n" + octets):
        try:
            assert isinstance(OpenPGPKey.parse(given_key), OpenPGPKey)
        except MalformedKey as error:
            assert str(error)


# Packet by packet


def test_both_forms_of_header_and_all_lengths_are_read():
    long = packet(13, b"x" * 70_000)
    middle = bytes([0xC0 | 13, 192 + (1000 - 192 >> 8), 1000 - 192 & 255]) + b"y" * 1000
    oldest = bytes([0x80 | 13 << 2, 3]) + b"Bob"
    four = bytes([0x80 | 13 << 2 | 2]) + (3).to_bytes(4, "big") + b"Kim"
    key = OpenPGPKey.parse(
        old_packet(6, b"\x04" + bytes(40)) + long + middle + oldest + four + packet(21, b"pad")
    )
    assert [len(user_id) for user_id in key.user_ids] == [70_000, 1000, 3, 3]


def test_a_key_of_version_6_has_the_fingerprint_of_the_rfc():
    # RFC 9580, appendix A.3: the sample key of version 6.
    key = OpenPGPKey.parse(SAMPLE_V6.encode())
    assert key.fingerprint == "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"


BAD_PACKETS = {
    "partial length": (bytes([0xC6, 0xE4]) + bytes(16), "partial length"),
    "no length": (bytes([0x80 | 6 << 2 | 3]) + bytes(16), "without a length"),
    "user id first": (PERSON + KEY, "begins with a public key"),
    "literal data": (KEY + packet(11, b"b\0\0\0\0\0hello"), "type 11"),
    "encrypted data": (KEY + packet(18, b"\x01xx"), "type 18"),
    "trust": (KEY + packet(12, b"\0\0"), "type 12"),
    "no packet": (KEY + b"\x00\x00", "no packet"),
    "text behind": (KEY + b"hello", "no packet"),
    "cut": (KEY[:-1], "cut short"),
    "cut in a length": (KEY + b"\xcd\xff\0\0", "cut short"),
    "longer than all": (KEY + b"\xcd\xff\xff\xff\xff\xff", "cut short"),
    "version 3": (packet(6, b"\x03" + bytes(40)), "another version"),
    "version 5": (packet(6, b"\x05" + bytes(40)), "another version"),
    "an empty key": (packet(6, b""), "another version"),
    "nothing": (b"", "gpg --export"),
    "a word": (b"hello", "gpg --export"),
    "a secret key, last": (KEY + PERSON + packet(7, b"\x04x"), KEEP_TO_YOURSELF),
    "an old secret key": (KEY + old_packet(5, b"\x04x"), KEEP_TO_YOURSELF),
}


@pytest.mark.parametrize("name", BAD_PACKETS)
def test_what_is_no_public_key_is_refused(name: str):
    octets, told = BAD_PACKETS[name]
    assert told in refused(octets)


def test_a_key_has_256_kib_at_most():
    room = MAX_OCTETS - len(KEY) - 6
    largest = KEY + packet(17, bytes(room))
    assert len(OpenPGPKey.parse(largest).octets) == MAX_OCTETS
    assert OpenPGPKey.parse(armoured(largest)).octets == largest
    for too_large in (KEY + packet(17, bytes(room + 1)), b"\xc6" * (1 << 20)):
        assert "262144" in refused(too_large)
        assert "262144" in refused(armoured(too_large))


# Armour


def test_armour_is_read_as_the_rfc_has_it():
    plain = OpenPGPKey.parse(KEY + PERSON)
    for text in (
        armoured(KEY + PERSON),
        armoured(KEY + PERSON, "Version: 1", "Comment: with: colons"),
        armoured(KEY + PERSON, checksum="=njUN\n"),  # RFC 9580, 6.1: never refused for it
        armoured(KEY + PERSON).replace(b"\n", b"\r\n"),
        armoured(KEY + PERSON).replace(b"\n\n", b"\n \t\n"),
        b"\n \r\n" + armoured(KEY + PERSON) + b"\n\n",
    ):
        assert OpenPGPKey.parse(text) == plain


BAD_ARMOUR = {
    "no end": (armoured(KEY)[:-20], "cut short"),
    "no empty line": (armoured(KEY).replace(b"\n\n", b"\n"), "no empty line"),
    "a strange line": (armoured(KEY, "hello"), "no header"),
    "not base64": (armoured(KEY).replace(b"AAA", b"A!A", 1), "base64"),
    "empty": (armoured(b""), "empty"),
    "another block": (armoured(KEY).replace(b"PUBLIC KEY BLOCK", b"MESSAGE"), "gpg --export"),
    "in armour twice": (armoured(armoured(KEY)), "no packet"),
    "private": (armoured(KEY).replace(b"PUBLIC", b"PRIVATE"), KEEP_TO_YOURSELF),
    "private, below": (
        armoured(KEY) + armoured(KEY).replace(b"PUBLIC", b"PRIVATE"),
        KEEP_TO_YOURSELF,
    ),
}


@pytest.mark.parametrize("name", BAD_ARMOUR)
def test_armour_that_is_none_is_refused(name: str):
    text, told = BAD_ARMOUR[name]
    assert told in refused(text)


# Whose it is


ADDRESSES = {
    "Bob <bob@b.example>": "bob@b.example",
    "bob@b.example": "bob@b.example",
    "<bob@b.example>": "bob@b.example",
    "Bob (work) <bob@b.example> ": "bob@b.example",
    "Bob <bob@b.example": "",
    "Bob": "",
    "": "",
    "Bob <bob@b.example> <cheryl@b.example>": "bob@b.example",
    "cheryl@b.example <bob@b.example>": "bob@b.example",
    "Bob <>": "",
    "Kim <\N{KELVIN SIGN}im@b.example>": "",
}


@pytest.mark.parametrize("user_id", ADDRESSES)
def test_the_address_of_a_user_id(user_id: str):
    assert address_in(user_id) == ADDRESSES[user_id]


def test_what_looks_like_an_address_in_lower_case_is_another():
    key = OpenPGPKey.parse(KEY + packet(13, "Kim <\N{KELVIN SIGN}im@b.example>".encode()))
    assert not key.is_of(Endpoint.parse("kim@b.example"))


def test_a_key_without_a_user_id_is_nobodys():
    assert not OpenPGPKey.parse(KEY).is_of(BOB)
    assert not OpenPGPKey.parse(KEY + packet(13, b"Bob <bob@b.example.evil.example>")).is_of(BOB)
    assert not OpenPGPKey.parse(KEY + packet(13, b"bob@b.example\0")).is_of(BOB)


@given(st.text(max_size=60))
def test_a_name_that_gpg_would_take_for_another_is_not_ours(name: str):
    """A User ID names bob only if bob's whole address stands in it."""
    if address_in(name).lower() == "bob@b.example":
        assert "bob@b.example" in name.lower()


SAMPLE_V6 = """-----BEGIN PGP PUBLIC KEY BLOCK-----

xioGY4d/4xsAAAAg+U2nu0jWCmHlZ3BqZYfQMxmZu52JGggkLq2EVD34laPCsQYf
GwoAAABCBYJjh3/jAwsJBwUVCg4IDAIWAAKbAwIeCSIhBssYbE8GCaaX5NUt+mxy
KwwfHifBilZwj2Ul7Ce62azJBScJAgcCAAAAAK0oIBA+LX0ifsDm185Ecds2v8lw
gyU2kCcUmKfvBXbAf6rhRYWzuQOwEn7E/aLwIwRaLsdry0+VcallHhSu4RN6HWaE
QsiPlR4zxP/TP7mhfVEe7XWPxtnMUMtf15OyA51YBM4qBmOHf+MZAAAAIIaTJINn
+eUBXbki+PSAld2nhJh/LVmFsS+60WyvXkQ1wpsGGBsKAAAALAWCY4d/4wKbDCIh
BssYbE8GCaaX5NUt+mxyKwwfHifBilZwj2Ul7Ce62azJAAAAAAQBIKbpGG2dWTX8
j+VjFM21J0hqWlEg+bdiojWnKfA5AQpWUWtnNwDEM0g12vYxoWM8Y81W+bHBw805
I8kWVkXU6vFOi+HWvv/ira7ofJu16NnoUkhclkUrk0mXubZvyl4GBg==
-----END PGP PUBLIC KEY BLOCK-----
"""
