"""Sealing: only the keys that were meant open, whole or not at all, whatever comes in."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xhmtp_wsgi.errors import (
    MalformedKey,
    MalformedSeal,
    MixedKeys,
    NotSealedToThese,
    SealBroken,
    TooLarge,
    XHMTPError,
)
from xhmtp_wsgi.protocol.sealing import (
    MOST_STANZAS,
    Identity,
    Passphrase,
    Recipient,
    armoured,
    bech32,
    is_sealed,
    parse_identities,
    parse_recipients,
    seal,
    seal_with_passphrase,
    unseal,
)
from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader

CHUNK = 64 << 10
ALICE, BOB = Identity.generate(), Identity.generate()
QUANTUM = Identity.generate(post_quantum=True)
LENGTHS = [0, 1, 47, 48, 49, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK - 1]


def sealed(octets: bytes, *identities: Identity) -> bytes:
    return b"".join(seal([octets], [one.recipient for one in identities]))


def opened(octets: bytes, *identities: Identity | Passphrase) -> bytes:
    return b"".join(unseal([octets], identities))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("identity", [ALICE, QUANTUM])
@pytest.mark.parametrize("with_armour", [False, True])
def test_what_is_sealed_is_opened(length: int, identity: Identity, with_armour: bool):
    octets = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    file = sealed(octets, identity)
    if with_armour:
        file = b"".join(armoured([file]))
        assert file.isascii()
    assert is_sealed(file)
    assert opened(file, identity) == octets


@given(st.lists(st.binary(max_size=200_000), max_size=8), st.integers(1, 70_000))
def test_in_whatever_pieces_it_comes_it_is_the_same(pieces: list[bytes], length: int):
    file = b"".join(seal(pieces, [BOB.recipient]))
    parts = [file[start : start + length] for start in range(0, len(file), length)]
    assert b"".join(unseal(parts, [BOB])) == b"".join(pieces)


def test_each_of_several_keys_opens_and_no_other():
    file = sealed(b"for two", ALICE, BOB)
    assert opened(file, ALICE) == opened(file, Identity.generate(), BOB) == b"for two"
    with pytest.raises(NotSealedToThese, match="none of the keys"):
        opened(file, Identity.generate(), QUANTUM)
    with pytest.raises(NotSealedToThese):
        opened(file)


def test_post_quantum_keys_and_others_are_never_in_one_file():
    with pytest.raises(MixedKeys):
        sealed(b"x", ALICE, QUANTUM)
    with pytest.raises(MixedKeys):
        sealed(b"x")


def test_a_file_has_at_most_so_many_keys():
    with pytest.raises(TooLarge):
        seal([b"x"], [ALICE.recipient] * (MOST_STANZAS + 1))
    many = b"".join(seal([b"x"], [ALICE.recipient] * (MOST_STANZAS - 1) + [BOB.recipient]))
    assert opened(many, BOB) == b"x"


def test_the_same_octets_are_never_sealed_alike():
    assert sealed(b"the same", ALICE) != sealed(b"the same", ALICE)


# What was changed


@given(st.data())
def test_a_file_of_which_any_octet_was_changed_does_not_open(data: st.DataObject):
    file = bytearray(sealed(b"y" * 1000, data.draw(st.sampled_from([ALICE, QUANTUM]))))
    place = data.draw(st.integers(0, len(file) - 1))
    file[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((SealBroken, MalformedSeal, NotSealedToThese)):
        opened(bytes(file), ALICE, QUANTUM)


@pytest.mark.parametrize("length", [100, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
@given(data=st.data())
def test_a_file_that_is_cut_anywhere_does_not_open(length: int, data: st.DataObject):
    file = sealed(bytes(length), BOB)
    with pytest.raises((SealBroken, MalformedSeal)):
        opened(file[: data.draw(st.integers(0, len(file) - 1))], BOB)


def test_a_cut_at_a_chunks_edge_is_told_as_one():
    file = sealed(bytes(3 * CHUNK), BOB)
    last = CHUNK + 16
    with pytest.raises(SealBroken, match="its end is missing"):
        opened(file[:-last], BOB)
    with pytest.raises(SealBroken, match="or its end is cut off"):
        opened(file[:-1], BOB)
    with pytest.raises(SealBroken, match="something stands behind its end"):
        opened(sealed(bytes(CHUNK), BOB) + bytes(CHUNK + 16), BOB)
    with pytest.raises(MalformedSeal, match="cut off before its content"):
        opened(file[: file.index(b"--- ") + 60], BOB)


def test_a_stanza_that_is_taken_out_is_seen():
    file = sealed(b"for two", ALICE, BOB)
    first, second, third = (file.index(b"-> "), file.index(b"\n-> ", 30) + 1, file.index(b"--- "))
    for without in (file[:first] + file[second:], file[:second] + file[third:]):
        with pytest.raises((SealBroken, NotSealedToThese)) as caught:
            opened(without, ALICE, BOB)
        assert "header is not whole" in str(caught.value), "one of the two still opens"
    assert opened(file, ALICE) == b"for two"


def test_a_file_of_another_with_our_header_does_not_open():
    ours, other = sealed(b"a" * 100, BOB), sealed(b"b" * 100, BOB)
    end = ours.index(b"\n", ours.index(b"--- ")) + 1
    with pytest.raises(SealBroken):
        opened(ours[:end] + other[end:], BOB)


@given(st.binary(max_size=3000))
def test_what_is_no_age_file_is_told_to_be_none(octets: bytes):
    with pytest.raises(MalformedSeal):
        opened(octets, ALICE)


@given(st.binary(max_size=300))
def test_whatever_follows_a_good_beginning_ends_in_an_error_of_ours(octets: bytes):
    for start in (b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> X25519 "):
        with pytest.raises(XHMTPError):
            opened(start + octets, ALICE)


def test_a_header_without_end_is_not_read_on_for_ever():
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield b"age-encryption.org/v1\n"
        while True:
            read += 1
            yield b"-> grease " + b"x" * 4000 + b"\n\n"

    with pytest.raises(MalformedSeal, match="more than 1000 keys"):
        list(unseal(endless(), [ALICE]))
    assert read < 1100


# Keys


def test_a_key_is_written_and_read():
    for identity in (ALICE, QUANTUM):
        assert Identity.parse(identity.text()) == identity
        assert Recipient.parse(str(identity.recipient)) == identity.recipient
        assert Identity.parse(identity.text().lower()) == identity
        assert identity.text() not in repr(identity)
        assert str(identity.secret) not in repr(identity)


def test_a_file_of_keys_is_read_as_age_reads_it():
    text = (
        f"# created: now\n# public key: {ALICE.recipient}\n\n{ALICE.text()}\n  {BOB.text()}  \r\n"
    )
    assert parse_identities(text) == (ALICE, BOB)
    assert parse_recipients(f"# alice\n{ALICE.recipient}\n") == (ALICE.recipient,)
    with pytest.raises(MalformedKey):
        parse_recipients(f"{ALICE.recipient}\nssh-ed25519 AAAA\n")


@given(st.data())
def test_a_key_with_a_mistake_is_none(data: st.DataObject):
    text = str(data.draw(st.sampled_from([ALICE.recipient, QUANTUM.recipient])))
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from([one for one in bech32._CHARACTERS if one != text[place]]))
    with pytest.raises(MalformedKey):
        Recipient.parse(text[:place] + wrong + text[place + 1 :])


@given(st.text(max_size=5000))
def test_what_is_no_key_is_told_to_be_none_and_not_repeated(text: str):
    for parse in (Recipient.parse, Identity.parse):
        with pytest.raises(MalformedKey):
            parse(text)


def test_a_secret_with_a_mistake_is_not_shown():
    wrong = ALICE.text()[:-1] + ("Q" if ALICE.text()[-1] != "Q" else "P")
    with pytest.raises(MalformedKey) as caught:
        Identity.parse(wrong)
    assert wrong[20:40] not in str(caught.value)


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1), st.binary(max_size=2000))
def test_bech32_is_read_as_it_was_written(prefix: str, octets: bytes):
    assert bech32.decode(bech32.encode(prefix, octets)) == (prefix, octets)
    assert bech32.decode(bech32.encode(prefix, octets).upper()) == (prefix, octets)


@pytest.mark.parametrize(
    "text",
    [  # of BIP 173
        "A12UEL5L",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    ],
)
def test_bech32_takes_what_its_specification_does(text: str):
    assert bech32.decode(text)[0]


@pytest.mark.parametrize(
    "text",
    ["", "1", "pzry9x0s0muk", "1pzry9x0s0muk", "x1b4n0q5v", "li1dgmt3", "A1G7SGD8", "a12UEL5L"],
)
def test_bech32_refuses_what_its_specification_does(text: str):
    with pytest.raises(ValueError, match="it"):
        bech32.decode(text)


@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "00" * 31 + "80",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ],
)
def test_a_point_of_small_order_is_no_key(point: str):
    octets = bytes.fromhex(point)
    for text in (
        bech32.encode("age", octets),
        bech32.encode("age1pq", QUANTUM.recipient.octets[:-32] + octets),
    ):
        with pytest.raises(MalformedKey, match="small order"):
            Recipient.parse(text)


# Passphrases


def test_a_passphrase_opens_what_it_has_sealed_and_no_other_does():
    file = b"".join(seal_with_passphrase([b"secret"], "corréct horse", 10))
    assert opened(file, Passphrase("corréct horse")) == b"secret"
    with pytest.raises(NotSealedToThese, match="with another one"):
        opened(file, Passphrase("correct horse"))
    with pytest.raises(NotSealedToThese, match="passphrase"):
        opened(file, ALICE)
    assert "horse" not in repr(Passphrase("correct horse"))


def test_a_stranger_cannot_have_us_work_for_ever():
    file = b"".join(seal_with_passphrase([b"x"], "y", 11))
    with pytest.raises(MalformedSeal, match="is the most that is done"):
        opened(file, Passphrase("y", max_work_factor=10))


@given(st.lists(st.binary(max_size=50), max_size=10), st.integers(0, 80))
def test_lines_and_lengths_are_read_from_any_pieces(pieces: list[bytes], limit: int):
    whole, source, found = b"".join(pieces), PieceReader(pieces), b""
    while (line := source.read_line(limit)) is not None:
        assert len(line) <= limit
        found += line + b"\n"
    rest = bytes(source.read(10_000))
    assert found + rest == whole
    assert b"\n" not in rest[: limit + 1]
