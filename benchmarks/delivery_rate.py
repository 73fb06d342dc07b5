"""Row 1: messages a second from injection to the recipient's feed, against two Postfix instances.

python -m benchmarks.delivery_rate [--quick] [--rounds 5]

4 KiB, once to one recipient each and once to 100 recipients at one domain. Ours: two agents under
gunicorn (two workers of eight threads each), `xhmtp-notify --loop 5`, messages handed in over eight
connections kept alive, told in batches as the receiver announces them; it ends when the last
notification is in the recipient's database, from which the feed is made. Postfix: two instances,
smtp-source with eight sessions kept; it ends when the last message is in a Maildir. All is on disk
(fsync) in both. The processor time is that of all processes of a side (gunicorn with its workers,
notifier, nsd; master with its children), not of the client's; while one side works, the other's
notifier stands still.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.command import Asked, main
from benchmarks.figures import Goal, Line, series
from benchmarks.http_client import send_all
from benchmarks.interleaved import interleaved
from benchmarks.measuring_directory import measuring_directory
from benchmarks.postfix import TwoPostfixes, two_postfixes, wait_until_arrived
from benchmarks.process_tree import processor_seconds
from benchmarks.two_sites import TwoSites, add_recipients, two_sites
from benchmarks.written_messages import injections

ROW, TITLE = 1, "Injection to feed"
SIZE = 4096
CONNECTIONS = 8
RECIPIENTS = 100
LOOK = 0.05  # seconds between two looks at what has arrived


@dataclass(frozen=True, slots=True)
class Run:
    """One run: deliveries a second, and processor seconds for 1,000 deliveries."""

    rate: float
    processor: float


def _run(work: Callable[[], None], roots: list[int], deliveries: int) -> Run:
    before, begun = processor_seconds(roots), time.perf_counter()
    work()
    taken = time.perf_counter() - begun
    spent = processor_seconds(roots) - before
    return Run(deliveries / taken, spent * 1000 / deliveries)


def ours(sites: TwoSites, count: int, recipients: list[str]) -> Run:
    """Hands in so many messages to all of these, and waits until the last has arrived."""
    requests = injections(sites, count, recipients, SIZE)
    wanted = sites.arrived() + count * len(recipients)

    def work() -> None:
        send_all((sites.a.address, sites.a.port), requests, connections=CONNECTIONS, expected=201)
        wait_until_told(sites, wanted, every=LOOK)

    sites.go_on()
    try:
        return _run(work, sites.processes(), count * len(recipients))
    finally:
        sites.pause()


def wait_until_told(sites: TwoSites, wanted: int, *, every: float, seconds: float = 600.0) -> None:
    """Waits until so many notifications are in the inboxes."""
    end = time.monotonic() + seconds
    while (arrived := sites.arrived()) < wanted:
        if time.monotonic() > end:
            raise RuntimeError(f"{arrived} of {wanted} have arrived")
        time.sleep(every)


def theirs(postfix: TwoPostfixes, count: int, recipients: int) -> Run:
    """The same by SMTP."""
    postfix.empty()
    many = count * recipients

    def work() -> None:
        postfix.submit(count, SIZE, CONNECTIONS, recipients)
        wait_until_arrived(postfix, many, every=LOOK)

    return _run(work, postfix.processes(), many)


def measure(asked: Asked) -> list[Line]:
    """Both variants. Raises NotMeasured."""
    single, many = (40, 2) if asked.quick else (2000, 40)
    with (
        measuring_directory() as directory,
        two_postfixes(directory / "postfix") as postfix,
        two_sites(directory / "ours") as sites,
    ):
        everybody = [f"user{number}@b.test" for number in range(RECIPIENTS)]
        add_recipients(sites, ["user@b.test", *everybody])
        sites.start_notifier()
        lines = []
        for what, count, to, least in (
            ("one recipient each", single, ["user@b.test"], 2.0),
            (f"{RECIPIENTS} recipients at one domain", many, everybody, 1.0),
        ):
            runs = interleaved(
                {
                    "ours": lambda count=count, to=to: ours(sites, count, to),  # type: ignore[misc]
                    "Postfix": lambda count=count, to=to: theirs(  # type: ignore[misc]
                        postfix, count, len(to)
                    ),
                },
                asked.rounds_or(5),
                warm_up=not asked.quick,
            )
            ours_, postfix_ = runs["ours"], runs["Postfix"]
            lines += [
                Line(
                    ROW, f"4 KiB, {what}", "deliveries/s", series([run.rate for run in ours_]),
                    "two Postfix", series([run.rate for run in postfix_]), Goal(least),
                ),
                Line(
                    ROW, f"4 KiB, {what}: processor time", "s for 1,000",
                    series([run.processor for run in ours_]),
                    "two Postfix", series([run.processor for run in postfix_]),
                ),
            ]  # fmt: skip
        return lines


if __name__ == "__main__":
    main(ROW, TITLE, measure, __doc__)
