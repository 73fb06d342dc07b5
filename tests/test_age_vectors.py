"""Every test vector that the age project has published is answered as it demands."""

import base64
import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xhmtp_wsgi.errors import MalformedSeal, NotSealedToThese, SealBroken
from xhmtp_wsgi.protocol.sealing import Identity, Passphrase, armoured, is_sealed, unseal

VECTORS = Path(__file__).parent / "age_vectors"
NAMES = sorted(path.name for path in VECTORS.iterdir() if path.name != "README.md")
EXPECTED: dict[str, type[Exception]] = {
    "no match": NotSealedToThese,
    "HMAC failure": SealBroken,
    "header failure": MalformedSeal,
    "payload failure": SealBroken,
    "armor failure": MalformedSeal,
}


@dataclass
class Vector:
    """A file, and what is to become of it."""

    octets: bytes
    expect: str = ""
    payload: str = ""
    is_armoured: bool = False
    identities: list[Identity | Passphrase] = field(default_factory=list)


def read_vector(name: str) -> Vector:
    header, _, octets = (VECTORS / name).read_bytes().partition(b"\n\n")
    vector = Vector(octets)
    for line in header.decode().splitlines():
        key, _, value = line.partition(": ")
        match key:
            case "expect":
                vector.expect = value
            case "payload":
                vector.payload = value
            case "identity":
                vector.identities.append(Identity.parse(value))
            case "passphrase":
                vector.identities.append(Passphrase(value))
            case "armored":
                vector.is_armoured = value == "yes"
            case "compressed":
                assert value == "zlib"
                vector.octets = zlib.decompress(octets)
            case "comment" | "file key":
                pass
            case _:
                raise AssertionError(f"{name} has a key that this test does not know: {key}")
    return vector


def test_all_of_them_are_here() -> None:
    assert len(NAMES) == 143


@pytest.mark.parametrize("length", [1, 61, 100_000_000])
@pytest.mark.parametrize("name", NAMES)
def test_the_vector_is_answered_as_it_demands(name: str, length: int) -> None:
    vector = read_vector(name)
    if length == 1 and len(vector.octets) > 100_000:
        length = 4095
    pieces = (
        vector.octets[start : start + length] for start in range(0, len(vector.octets), length)
    )
    released = b""
    error: Exception | None = None
    try:
        for piece in unseal(pieces, vector.identities):
            released += piece
    except (MalformedSeal, NotSealedToThese, SealBroken) as raised:
        error = raised
    if vector.expect == "success":
        assert error is None
        assert is_sealed(vector.octets)
    else:
        assert type(error) is EXPECTED[vector.expect], error
    if vector.payload:
        assert hashlib.sha256(released).hexdigest() == vector.payload


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("armor")])
def test_what_is_armoured_again_is_as_it_was(name: str) -> None:
    vector = read_vector(name)
    if not vector.is_armoured or vector.expect != "success":
        return
    text = vector.octets.replace(b"\r\n", b"\n").strip() + b"\n"
    inside = base64.b64decode(b"".join(text.splitlines()[1:-1]))
    assert b"".join(armoured([inside])) == text
