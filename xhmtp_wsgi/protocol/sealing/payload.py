"""The payload of an age file: chunks of 64 KiB, each encrypted and numbered (c2sp.org/age)."""

import secrets
from collections.abc import Iterator

from xhmtp_wsgi.errors import MalformedSeal, SealBroken
from xhmtp_wsgi.protocol.sealing.header import hkdf
from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader

CHUNK = 64 << 10  # octets in a chunk
_TAG = 16
_NONCE = 16
_CHANGED = "the sealed message was changed on the way"
_CUT = "the sealed message is cut off: its end is missing"
_APPENDED = "the sealed message was changed on the way: something stands behind its end"
_CHANGED_OR_CUT = "the sealed message was changed on the way, or its end is cut off"


def encrypt_payload(source: PieceReader, file_key: bytes) -> Iterator[bytes]:
    """The nonce and the chunks. A file key must be used once."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    nonce = secrets.token_bytes(_NONCE)
    yield nonce
    cipher = ChaCha20Poly1305(hkdf(file_key, nonce, b"payload"))
    number, chunk = 0, source.read(CHUNK)
    while len(chunk) == CHUNK and (following := source.read(CHUNK)):
        yield cipher.encrypt(_counter(number, last=False), chunk, None)
        number, chunk = number + 1, following
    yield cipher.encrypt(_counter(number, last=True), chunk, None)


def decrypt_payload(source: PieceReader, file_key: bytes) -> Iterator[bytes]:
    """The chunks, each of which is authentic when it comes.

    Raises SealBroken at the first that is not, and at the end where the last one is missing;
    MalformedSeal where there is no payload.
    """
    nonce = bytes(source.read(_NONCE))
    if len(nonce) != _NONCE:
        raise MalformedSeal("it is cut off before its content")
    chunks = _Chunks(hkdf(file_key, nonce, b"payload"))
    number, chunk = 0, source.read(CHUNK + _TAG)
    while len(chunk) == CHUNK + _TAG and (following := source.read(CHUNK + _TAG)):
        content = chunks.opened(chunk, number, last=False)
        if content is None:
            yield from _ended(chunks, chunk, number)
            raise SealBroken(_CHANGED)
        yield content
        number, chunk = number + 1, following
    content = chunks.opened(chunk, number, last=True)
    if content is None:
        yield from _not_ended(chunks, chunk, number)
        raise SealBroken(_CHANGED_OR_CUT)
    if number and not content:
        raise SealBroken(_CHANGED)
    yield content


def _ended(chunks: "_Chunks", chunk: bytes | memoryview, number: int) -> Iterator[bytes]:
    """Raises SealBroken if that is the last chunk, behind which there should be no other."""
    content = chunks.opened(chunk, number, last=True)
    if content is not None:
        yield content
        raise SealBroken(_APPENDED)


def _not_ended(chunks: "_Chunks", chunk: bytes | memoryview, number: int) -> Iterator[bytes]:
    """Raises SealBroken if that is a chunk behind which there should be another."""
    if len(chunk) == CHUNK + _TAG:
        content = chunks.opened(chunk, number, last=False)
        if content is not None:
            yield content
            raise SealBroken(_CUT)


class _Chunks:
    """Opens chunks by their place."""

    def __init__(self, key: bytes) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._cipher, self._wrong = ChaCha20Poly1305(key), InvalidTag

    def opened(self, chunk: bytes | memoryview, number: int, *, last: bool) -> bytes | None:
        """Its content; None where it is not authentic there."""
        try:
            return self._cipher.decrypt(_counter(number, last=last), chunk, None)
        except self._wrong:
            return None


def _counter(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")
