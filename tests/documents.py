"""The blocks of code that the documents show, as the tests run them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    text = (ROOT / document).read_text()
    return [body for name, body in _FENCE.findall(text) if name == language]


def block(document: str, language: str, first_line: str) -> str:
    """The one block that begins with a line."""
    found = [body for body in blocks(document, language) if body.startswith(first_line)]
    assert len(found) == 1, (document, first_line, len(found))
    return found[0]
