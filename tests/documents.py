"""The blocks of code that the documents show, as the tests run them."""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"^(?: *<!-- not run: (?P<reason>.+?) -->\n)?(?P<indent> *)```(?P<language>\w+)\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block. ``not_run``: why no test runs it, as the comment before it says; or empty."""

    language: str
    text: str
    not_run: str


def fenced(document: str) -> list[Block]:
    """All fenced blocks of a document, in their order."""
    text = (ROOT / document).read_text()
    return [
        Block(found["language"], dedent(found["text"]), found["reason"] or "")
        for found in _FENCE.finditer(text)
    ]


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return [block.text for block in fenced(document) if block.language == language]


def block(document: str, language: str, first_line: str) -> str:
    """The one block that begins with a line."""
    found = [body for body in blocks(document, language) if body.startswith(first_line)]
    assert len(found) == 1, (document, first_line, len(found))
    return found[0]
