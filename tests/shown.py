"""Compares what a document shows with what was printed, where IDs, keys and times differ each time.

An ID that the document shows stands for one that was printed: the same one wherever it is shown
again, in what is printed and in commands. A time stands for any time, and ``…`` for whatever else
is left out: within a line, or as a line of its own for any lines.
"""

import re
from dataclasses import dataclass, field

# What differs each time, by kind.
_DIFFERING = {
    "time": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "date": r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:\+0000|GMT)",
    "selector": r"k\d{8}-[0-9a-f]{4}\b",
    "digest": r"[A-Za-z0-9+/]{43}=",
    "code": r"\b[a-z2-7]{32}\b",
    "id": r"\b[a-z2-7]{26}\b",
}
_FREE = ("time", "date")
_PIECES = re.compile(
    "|".join(f"(?P<{name}>{pattern})" for name, pattern in _DIFFERING.items())
    + r"|(?P<lines>^…\n)|(?P<rest>…)",
    re.MULTILINE,
)


class Different(AssertionError):
    """What was printed is not what is shown."""


@dataclass
class Likeness:
    """What stands for what, as far as it is known."""

    printed_for: dict[str, str] = field(default_factory=dict)

    def compare(self, shown: str, printed: str) -> None:
        """Raises Different, unless it was printed as it is shown."""
        pattern, names = "", []
        end = 0
        for piece in _PIECES.finditer(shown):
            pattern += re.escape(shown[end : piece.start()])
            end = piece.end()
            if piece.lastgroup == "lines":
                pattern += r"(?:.*\n)*?"
            elif piece.lastgroup == "rest":
                pattern += r".*?"
            else:
                assert piece.lastgroup is not None
                pattern += f"({_DIFFERING[piece.lastgroup]})"
                names.append((piece.lastgroup, piece[0]))
        found = re.fullmatch(pattern + re.escape(shown[end:]), _trimmed(printed))
        if found is None:
            raise Different(f"shown:\n{shown}\nprinted:\n{printed}")
        for (kind, one), other in zip(names, found.groups(), strict=True):
            if kind not in _FREE:
                self._learn(one, other)

    def in_command(self, commands: str) -> str:
        """Commands as the reader types them: with what his terminal has shown him."""
        return _PIECES.sub(lambda piece: self.printed_for.get(piece[0], piece[0]), commands)

    def _learn(self, shown: str, printed: str) -> None:
        known = self.printed_for.setdefault(shown, printed)
        if known != printed:
            raise Different(f"{shown} stood for {known}, and now for {printed}")
        if list(self.printed_for.values()).count(printed) > 1:
            raise Different(f"{printed} is shown under two names, one of them {shown}")


def _trimmed(printed: str) -> str:
    """Without blanks at the ends of lines, which editors take away, and with one line end."""
    return "\n".join(line.rstrip() for line in printed.strip("\n").split("\n")) + "\n"
