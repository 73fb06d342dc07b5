"""Times and tables as the commands print them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def duration(seconds: float) -> str:
    """About how long: ``3 h``, in the largest unit of which there is one."""
    for length, name in _UNITS:
        if seconds >= length:
            return f"{int(seconds / length)} {name}"
    return "0 s"


def until(moment: float, now: float) -> str:
    """``in 4 min``, or ``now``."""
    return f"in {duration(moment - now)}" if moment >= now + 1 else "now"


def date(moment: float | None) -> str:
    """A moment in UTC to the second; ``-`` for none."""
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).isoformat(" ", "seconds").removesuffix("+00:00")


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines with columns; a title that ends in ``>`` is that of a column set flush right."""
    right = [title.endswith(">") for title in titles]
    lines = [[title.removesuffix(">") for title in titles], *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        cells = [
            cell.rjust(width) if flush_right else cell.ljust(width)
            for cell, width, flush_right in zip(line, widths, right, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def subject(notice: Notice, fields: Mapping[str, str]) -> str:
    """What stands for the subject in a list. ``fields``: the notice's, as text."""
    return fields.get("subject", "(sealed)" if is_sealed_notice(notice) else "(no subject)")[:60]
