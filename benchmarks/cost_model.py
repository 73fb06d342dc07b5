"""What a thousand, a million and a hundred million users cost, with XHMTP and with SMTP.

python -m benchmarks.cost_model [--sent 10] [--recipients 2] [--size 65536] ...

Every user sends and receives alike. The costs of one message, one notification, one fetch and one
poll are the medians of benchmarks/measured.json (`make bench`); what is not there is assumed, and
marked so below the table. Costs grow with the number of users and with nothing else: that a
database of a hundred million is many databases is for docs/scaling.md to say. For SMTP only the
way into the mailbox is counted, as measured with Postfix: its readers' IMAP is not, nor any filter
against spam, while XHMTP's feeds, polls and fetches are. Recipients are at domains of their own,
and in both cases the same share of messages is kept for as long. Copies that senders keep for
themselves are counted nowhere. A machine has two cores, half used at the busiest hour.

With --page it also puts the table into that page, between its markers (docs/scaling.md).
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

MEASURED = Path(__file__).with_name("measured.json")
USERS = (1_000, 1_000_000, 100_000_000)
CORES = 2  # of the machine that it was measured on, and of the ones that are counted
KIB, MIB = 1 << 10, 1 << 20
DAY = 86400.0
YEAR = 365.0  # days
BEGIN, END = "<!-- model: begin -->", "<!-- model: end -->"
UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a user does in a day. ``size``: octets; shares are of one, times are days."""

    sent: float = 10.0
    recipients: float = 2.0
    size: float = 65536.0
    fetched: float = 0.8
    kept: float = 0.2
    polls: float = 96.0
    opened: float = 10.0
    days_offered: float = 30.0
    days_kept: float = YEAR


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that the model starts from, and where it comes from."""

    value: float
    source: str
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one of each costs: seconds of processor time, octets."""

    delivering: Figure
    """Processor seconds of both ends for a message of one recipient, from injection to feed."""
    receiving: Figure
    """Of these the recipient's."""
    fetching: Figure
    polling: Figure
    feed_page: Figure
    written_once: Figure
    """Octets written for each octet of a message that is stored."""
    written_each: Figure
    """Octets that both ends write for each recipient."""
    notice_kept: Figure
    notification: Figure
    """Octets over the network, with the answer and TCP/IP."""
    poll_sent: Figure
    smtp_delivering: Figure
    smtp_written: Figure
    """Octets that Postfix writes at both ends, for each octet delivered to a recipient."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one day: processor seconds, octets written and sent; and octets kept in the long run."""

    processor: float = 0.0
    written: float = 0.0
    kept: float = 0.0
    network: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def times(self, users: float) -> "Cost":
        """So many users' cost."""
        return Cost(*(getattr(self, one.name) * users for one in fields(self)))

    def machines(self, peak: float = 4.0, used: float = 0.5, disk: float = 4e12) -> int:
        """How many carry it: by processor time at the busiest hour, or by what is kept.

        ``peak``: the busiest hour's load as a multiple of the mean; ``used``: the share of the
        processor that is used then; ``disk``: octets of one machine.
        """
        by_processor = self.processor * peak / (DAY * CORES * used)
        return max(math.ceil(by_processor), math.ceil(self.kept / disk), 1)


def inputs(measured: Path = MEASURED) -> Inputs:
    """From the benchmarks' figures, with assumptions in place of what is not there."""
    found = list(_lines(measured)) if measured.exists() else []

    def known(row: int, what: str, side: str, scale: float, otherwise: float, why: str) -> Figure:
        for line in found:
            if line.row == row and line.what.startswith(what) and line.values(side):
                value = scale * median(line.values(side))
                return Figure(value, f"row {row}, {line.what}", assumed=False)
        return Figure(otherwise, why)

    def rate(row: int, what: str, otherwise: float, why: str) -> Figure:
        """Processor seconds of one, where so many a second have kept all cores busy."""
        one = known(row, what, "ours", 1.0, otherwise, why)
        return Figure(CORES / one.value, one.source, one.assumed)

    one_each = "4 KiB, one recipient each: processor time"
    large = "written to disk"
    written = known(2, large, "ours", MIB, 2.5 * MIB, "1 MiB to 100 recipients writes 2.5 MiB")
    once = 2.0
    return Inputs(
        delivering=known(1, one_each, "ours", 1e-3, 0.010, "10 s for 1,000: docs/delivery.md"),
        receiving=rate(3, "SQLite, by origin", 500.0, "500 notifications/s with both cores"),
        fetching=rate(5, "4 KiB", 800.0, "800 messages/s with both cores"),
        polling=known(6, "poll with nothing new, of 100,000", "ours", 1e-3, 0.0015, "1.5 ms"),
        feed_page=known(6, "feed of 50 out of 100,000", "ours", 1e-3, 0.0054, "5.4 ms"),
        written_once=Figure(once, "once into the write-ahead log, once into the tables"),
        written_each=Figure(
            max(written.value - once * MIB, 0.0) / 100, f"{written.source}, less the message",
            written.assumed,
        ),
        notice_kept=Figure(1308.0, "a million with their indexes: docs/scaling.md", assumed=False),
        notification=Figure(2.5 * KIB, "header of 1 KiB, signature, answer, TCP"),
        poll_sent=Figure(1.0 * KIB, "request, 304, TCP; the connection kept alive"),
        smtp_delivering=known(1, one_each, "peer", 1e-3, 0.006, "6 s for 1,000, issue 8"),
        smtp_written=known(2, large, "peer", 0.01, 1.03, "103 MiB for 1 MiB to 100, issue 8"),
    )  # fmt: skip


def sender(traffic: Traffic, one: Inputs) -> Cost:
    """A user's day, as his own agent pays for what he sends: it keeps it until it is fetched."""
    told = traffic.sent * traffic.recipients
    fetched = told * traffic.fetched
    telling = max(one.delivering.value - one.receiving.value, 0.0)
    return Cost(
        processor=told * telling + fetched * one.fetching.value,
        written=traffic.sent * traffic.size * one.written_once.value
        + told * one.written_each.value / 2,
        kept=traffic.sent * traffic.size * traffic.days_offered,
        network=told * one.notification.value + fetched * traffic.size,
    )


def recipient(traffic: Traffic, one: Inputs) -> Cost:
    """A user's day, as his agent pays for what is told to him, his polls, and what he keeps."""
    told = traffic.sent * traffic.recipients
    copies = told * traffic.kept * traffic.size
    return Cost(
        processor=told * one.receiving.value
        + traffic.polls * one.polling.value
        + traffic.opened * one.feed_page.value,
        written=told * one.written_each.value / 2 + copies * one.written_once.value,
        kept=told * one.notice_kept.value * traffic.days_kept + copies * traffic.days_kept,
        # What is sent over a network is counted once, with whoever sends it.
        network=traffic.polls * one.poll_sent.value,
    )


def smtp_sender(traffic: Traffic, one: Inputs) -> Cost:
    """The same day with SMTP: half of Postfix's work, its queue, each copy over the network."""
    told = traffic.sent * traffic.recipients
    return Cost(
        processor=told * one.smtp_delivering.value / 2,
        written=traffic.sent * traffic.size,
        network=told * traffic.size,
    )


def smtp_recipient(traffic: Traffic, one: Inputs) -> Cost:
    """The same day with SMTP: each copy is written twice, to the queue and to the mailbox.

    What its reader does not keep, he deletes after as many days as XHMTP's sender offers it.
    """
    told = traffic.sent * traffic.recipients
    days = traffic.kept * traffic.days_kept + (1 - traffic.kept) * traffic.days_offered
    return Cost(
        processor=told * one.smtp_delivering.value / 2,
        written=told * traffic.size * (1 + one.smtp_written.value),
        kept=told * traffic.size * days,
    )


def table(traffic: Traffic, one: Inputs, users: Sequence[int] = USERS) -> str:
    """The table, in Markdown."""
    parts = [
        "| users | who | processor, hours a day | written a day | kept | sent a day | machines |\n",
        "| --- | --- | --- | --- | --- | --- | --- |\n",
    ]
    sides = {"XHMTP": (sender, recipient), "SMTP": (smtp_sender, smtp_recipient)}
    for count in users:
        for name, (sending, receiving) in sides.items():
            costs = {
                f"{name}: sender": sending(traffic, one).times(count),
                f"{name}: recipient": receiving(traffic, one).times(count),
            }
            costs[f"**{name}**"] = sum(costs.values(), Cost())
            parts += [_row(count, who, cost) for who, cost in costs.items()]
    return "".join(parts)


def sources(one: Inputs) -> str:
    """Where each number comes from, a line each."""
    lines = []
    for row in fields(one):
        figure: Figure = getattr(one, row.name)
        kind = "assumed" if figure.assumed else "measured"
        lines.append(f"- `{row.name}`: {figure.value:.4g} ({kind}: {figure.source})\n")
    return "".join(lines)


def write(page: Path, text: str) -> None:
    """Puts it between the page's markers. Raises ValueError where it has none."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def _row(users: int, who: str, cost: Cost) -> str:
    cells = [
        f"{users:,}", who, _number(cost.processor / 3600), _octets(cost.written),
        _octets(cost.kept), _octets(cost.network), f"{cost.machines():,}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _octets(value: float) -> str:
    power = min(int(math.log10(max(value, 1.0))) // 3, len(UNITS) - 1)
    return f"{value / 1000**power:.3g} {UNITS[power]}"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of measured.json: of these only what the model needs."""

    row: int
    what: str
    ours: tuple[float, ...]
    peer: tuple[float, ...]

    def values(self, side: str) -> tuple[float, ...]:
        return self.ours if side == "ours" else self.peer


def _lines(measured: Path) -> Iterator[_Line]:
    for found in json.loads(measured.read_text()):
        for line in found["lines"]:
            peer = line["peer"]["values"] if line["peer"] else ()
            yield _Line(line["row"], line["what"], tuple(line["ours"]["values"]), tuple(peer))


def main() -> None:
    """Prints the table for the traffic that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--page", type=Path, help="a page that gets the table")
    usual = Traffic()
    for row in fields(usual):
        name = f"--{row.name.replace('_', '-')}"
        default = getattr(usual, row.name)
        parser.add_argument(name, type=float, default=default, help=f"by default {default:g}")
    given = vars(parser.parse_args())
    one, page = inputs(given.pop("measured")), given.pop("page")
    text = table(Traffic(**given), one) + "\n" + sources(one)
    if page:
        write(page, text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
