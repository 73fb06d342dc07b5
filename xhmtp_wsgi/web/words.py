"""How pages put things: times, sizes, names of folders and of checks, in plain words."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from xhmtp_wsgi.recipient.mailbox import ARCHIVE, INBOX, TRASH

_FOLDERS = {INBOX: "Inbox", ARCHIVE: "Archive", TRASH: "Trash"}


def moment(seconds: float) -> Markup:
    """A time as an element that programs can read; seconds since the epoch.

    In UTC, which it says; the script puts it into the reader's own time.
    """
    when = datetime.fromtimestamp(seconds, UTC)
    machine = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = f"{when.day} {when:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(machine, shown)


def size(octets: int | None) -> str:
    """So many octets, as people count them."""
    if octets is None:
        return "size not told"
    if octets < 1000:
        return f"{octets} bytes"
    amount = float(octets)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
    raise AssertionError("unreachable")


def folder(name: str) -> str:
    """A folder's name as it is shown: ours in words, his own as he wrote it."""
    return _FOLDERS.get(name, name)


def lines(text: str) -> Markup:
    """Text with its line breaks."""
    return Markup("<br>").join(escape(line) for line in text.splitlines())


FILTERS: Mapping[str, Callable[..., Any]] = {
    "moment": moment,
    "size": size,
    "folder": folder,
    "lines": lines,
}
