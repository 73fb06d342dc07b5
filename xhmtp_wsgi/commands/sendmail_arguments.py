"""The arguments of sendmail(8), as programs write them: those of Sendmail, Postfix and Exim.

Letters stand one behind another, a value stands in the same argument or is the next one, and the
first that is no option begins the recipients. What has no meaning here changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

_WITH_VALUE = frozenset("ABbCeFfhLMNOopRrVX")
_WITHOUT_VALUE = frozenset("cGgIimnsTtUvxE")
_DEBUGGING, _QUEUE = "d", "q"  # whose value, if there is one, stands in the same argument
_REFUSED = {
    "s": "SMTP is not spoken here",
    "S": "SMTP is not spoken here",
    "d": "this is no mail server",
    "D": "this is no mail server",
    "p": "'xhmtp queue list' lists who is still to be told",
    "t": "there are no rules to test",
    "v": "addresses cannot be verified",
    "h": "there is no such status",
    "H": "there is no such status",
}
_NEW_ALIASES = "i"


class Misused(Exception):
    """It was called in a way that has no meaning here."""


@dataclass(slots=True)
class Asked:
    """What the arguments ask for. ``dot_ends``: does a line with only a dot end the message?"""

    recipients: list[str] = field(default_factory=list)
    settings: str | None = None
    sender: str = ""
    name: str = ""
    from_header: bool = False
    dot_ends: bool = True
    verbose: bool = False
    nothing: bool = False


def parse_arguments(arguments: Sequence[str]) -> Asked:
    """What is asked for. Raises Misused."""
    asked = Asked()
    left = list(arguments)
    while left:
        given = left.pop(0)
        if given == "--":
            asked.recipients = left
            return asked
        if given == "--config" or given.startswith("--config="):
            asked.settings = given[9:] if "=" in given else _value(given, left)
        elif given.startswith("--"):
            raise Misused(f"there is no option {given}")
        elif given.startswith("-") and given != "-":
            _take_letters(asked, given[1:], left)
        else:
            left.insert(0, given)
            break
    asked.recipients = left
    return asked


def _take_letters(asked: Asked, letters: str, left: list[str]) -> None:
    """One argument: flags one behind another, and perhaps a last one with a value."""
    for place, letter in enumerate(letters):
        if letter in _WITH_VALUE:
            value = letters[place + 1 :] or _value(f"-{letter}", left)
            _take_value(asked, letter, value)
            return
        if letter == _DEBUGGING:
            return
        if letter == _QUEUE:
            raise Misused("'xhmtp-notify' tells those who are still to be told")
        if letter not in _WITHOUT_VALUE:
            raise Misused(f"there is no option -{letter}")
        asked.from_header = asked.from_header or letter == "t"
        asked.dot_ends = asked.dot_ends and letter != "i"
        asked.verbose = asked.verbose or letter == "v"


def _take_value(asked: Asked, letter: str, value: str) -> None:
    if letter in "fr":
        asked.sender = value.strip().strip("<>")
    elif letter == "F":
        asked.name = value
    elif letter == "C":
        asked.settings = value
    elif letter == "o":
        asked.dot_ends = asked.dot_ends and value != "i"
    elif letter == "b":
        if value in _REFUSED:
            raise Misused(_REFUSED[value])
        asked.nothing = value == _NEW_ALIASES


def _value(option: str, left: list[str]) -> str:
    if not left:
        raise Misused(f"{option} needs a value")
    return left.pop(0)
