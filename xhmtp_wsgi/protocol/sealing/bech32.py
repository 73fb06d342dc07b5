"""Bech32 (BIP 173), without its limit of length: how age writes its keys."""

_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUE_OF = {character: value for value, character in enumerate(_CHARACTERS)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM = 6  # characters


def encode(prefix: str, octets: bytes) -> str:
    """The text of some octets; ``prefix``: in lower case."""
    values = _regrouped(octets, 8, 5, pad=True)
    checked = _polymod([*_expanded(prefix), *values, *[0] * _CHECKSUM]) ^ 1
    checksum = [(checked >> 5 * (_CHECKSUM - 1 - place)) & 31 for place in range(_CHECKSUM)]
    return prefix + "1" + "".join(_CHARACTERS[value] for value in [*values, *checksum])


def decode(text: str) -> tuple[str, bytes]:
    """The prefix, in lower case, and the octets.

    Raises ValueError where it is not written as BIP 173 has it, or its checksum is wrong.
    """
    if text not in (text.lower(), text.upper()):
        raise ValueError("it has both small and capital letters")
    prefix, found, data = text.lower().rpartition("1")
    if not found or not prefix or len(data) < _CHECKSUM:
        raise ValueError("it is not whole")
    if not prefix.isascii() or not prefix.isprintable() or " " in prefix:
        raise ValueError("its prefix has characters that cannot be there")
    try:
        values = [_VALUE_OF[character] for character in data]
    except KeyError:
        raise ValueError("it has characters that cannot be there") from None
    if _polymod([*_expanded(prefix), *values]) != 1:
        raise ValueError("its checksum is wrong: a character was changed or left out")
    return prefix, bytes(_regrouped(values[:-_CHECKSUM], 5, 8, pad=False))


def _expanded(prefix: str) -> list[int]:
    numbers = prefix.encode("ascii")
    return [*(number >> 5 for number in numbers), 0, *(number & 31 for number in numbers)]


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            if top >> place & 1:
                checksum ^= generator
    return checksum


def _regrouped(values: bytes | list[int], width: int, new_width: int, *, pad: bool) -> list[int]:
    """Groups of bits as groups of another width. Raises ValueError for bits left over."""
    found, buffer, held = [], 0, 0
    for value in values:
        buffer, held = (buffer << width | value) & 0xFFFF, held + width
        while held >= new_width:
            held -= new_width
            found.append(buffer >> held & ((1 << new_width) - 1))
    rest = buffer & ((1 << held) - 1)
    if pad:
        if held:
            found.append(rest << (new_width - held) & ((1 << new_width) - 1))
    elif held >= width or rest:
        raise ValueError("it has bits left over")
    return found
