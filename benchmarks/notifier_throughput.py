"""Row 4: what the notifier sends a second to a sink that only answers, against urllib3 alone.

python -m benchmarks.notifier_throughput [--quick] [--rounds 5]

The sink is nginx that answers 201, at 20 domains; and, at 20 others, one that announces batches of
100 and answers these (docs/protocol.md, section 5), each domain with one entry for the single
notification that comes first and four batches behind it. The queue is filled first, with messages
for one recipient at each of them; then one pass of the notifier is timed, from its call to its end,
in a process of its own, with the settings as they are by default (16 at once, 4 to a domain) and a
name server on loopback. urllib3 posts as many bodies of that kind from as many threads, over
connections kept alive, and does nothing else.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import urllib3

from benchmarks.command import Asked, main
from benchmarks.figures import Goal, Line, series
from benchmarks.interleaved import interleaved
from benchmarks.measuring_directory import measuring_directory
from benchmarks.nginx import ANSWERS_201, ANSWERS_BATCHES, BATCH, Nginx, nginx
from benchmarks.notifications import body
from benchmarks.programs import program
from tests.live.servers import AgentServer, Nsd
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.notification import FORM
from xhmtp_wsgi.sender.injection import submit

ROW, TITLE = 4, "Notifications told"
DOMAINS = [f"d{number}.test" for number in range(20)]
BATCH_DOMAINS = [f"e{number}.test" for number in range(20)]
THREADS = 16


def zones(sink: Nginx, domains: Sequence[str]) -> dict[str, list[str]]:
    """These domains, whose agent is the sink."""
    lines = [
        f"_xhmtp._tcp SRV 0 0 {sink.port} server",
        '_prefix._xhmtp TXT "xhmtp"',
        f"server A {sink.address}",
    ]
    return dict.fromkeys(domains, lines)


def fill(sender: AgentServer, domains: Sequence[str], count: int, at_once: int = 1) -> None:
    """Queues so many notifications, ``at_once`` of them from one message, for all domains alike."""
    agent, author = sender.agent(), f"alice@{sender.domain}"
    recipients = (f"user{number}@{domains[number % len(domains)]}" for number in range(count))
    while some := list(islice(recipients, at_once)):
        to = ",\r\n ".join(some)
        text = f"From: {author}\r\nTo: {to}\r\nSubject: a measurement\r\n\r\nx\r\n"
        submit(agent, [text.encode()], author, None)
    agent.database.close()


def one_pass(settings: str) -> None:
    """Prints how many were told, and in how many seconds."""
    from xhmtp_wsgi import Settings
    from xhmtp_wsgi.agent import make_agent
    from xhmtp_wsgi.sender.notifier import Notifier

    notifier = Notifier(make_agent(Settings.load(settings)))
    begun = time.perf_counter()
    report = notifier.run_pass()
    print(report.notified, time.perf_counter() - begun)


def urllib3_alone(address: str, port: int, count: int) -> None:
    """Prints the same of urllib3."""
    recipients = [Endpoint.parse(f"user@{domain}") for domain in DOMAINS]
    bodies = [
        body(recipients[number % len(recipients)], "server.a.test", 8080) for number in range(count)
    ]
    pool = urllib3.HTTPConnectionPool(address, port, maxsize=THREADS, block=True)

    def send(octets: bytes) -> int:
        return pool.request("POST", "/xhmtp/x", body=octets, headers={"Content-Type": FORM}).status

    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        told = sum(status == 201 for status in threads.map(send, bodies))
    print(told, time.perf_counter() - begun)


def rate(arguments: Sequence[str], expected: int) -> float:
    """What this module, run again with these arguments, has told a second."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.notifier_throughput", *arguments],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    told, seconds = done.stdout.split()
    if int(told) != expected:
        raise RuntimeError(f"{told} of {expected} were told: {done.stderr[-1000:]}")
    return expected / float(seconds)


def measure(asked: Asked) -> list[Line]:
    """One message for each, and one for many. Raises NotMeasured."""
    program("nsd", "nsd")
    count = 60 if asked.quick else 2000
    # The first for each domain goes alone, and then whole batches.
    in_batches = len(DOMAINS) * (1 + BATCH * (1 if asked.quick else 4))
    with (
        measuring_directory() as directory,
        nginx(directory / "sink", ANSWERS_201) as sink,
        nginx(directory / "batches", ANSWERS_BATCHES, "127.0.0.5") as batches,
    ):
        names = Nsd(directory)
        (directory / "a").mkdir()
        (directory / "b").mkdir()
        one_by_one = AgentServer("a.test", "127.0.0.2", directory / "a", names.port)
        together = AgentServer("b.test", "127.0.0.3", directory / "b", names.port)
        names.start(
            {
                "a.test": one_by_one.zone(),
                "b.test": together.zone(),
                **zones(sink, DOMAINS),
                **zones(batches, BATCH_DOMAINS),
            }
        )

        def ours(at_once: int) -> float:
            fill(one_by_one, DOMAINS, count, at_once)
            return rate(["--pass", str(one_by_one.settings)], count)

        def ours_in_batches() -> float:
            fill(together, BATCH_DOMAINS, in_batches)
            return rate(["--pass", str(together.settings)], in_batches)

        try:
            found = interleaved(
                {
                    "one": lambda: ours(1),
                    "many": lambda: ours(100),
                    "batches": ours_in_batches,
                    "urllib3": lambda: rate(
                        ["--urllib3", sink.address, str(sink.port), str(count)], count
                    ),
                },
                asked.rounds_or(5),
                warm_up=not asked.quick,
            )
        finally:
            names.stop()
    peer = series(found["urllib3"])
    return [
        Line(ROW, f"{in_batches:,} messages of one recipient, in batches of {BATCH}",
             "notifications/s", series(found["batches"]), "urllib3 alone", peer, Goal(0.8)),
        Line(ROW, f"{count:,} messages of one recipient, one by one", "notifications/s",
             series(found["one"]), "urllib3 alone", peer, Goal(0.8)),
        Line(ROW, f"{count:,} recipients of messages of 100, one by one", "notifications/s",
             series(found["many"]), "urllib3 alone", peer),
    ]  # fmt: skip


def _work() -> bool:
    """Is this one of the processes that are measured?"""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--pass", dest="settings")
    parser.add_argument("--urllib3", nargs=3)
    given, _ = parser.parse_known_args()
    if given.settings:
        one_pass(given.settings)
    elif given.urllib3:
        urllib3_alone(given.urllib3[0], int(given.urllib3[1]), int(given.urllib3[2]))
    return bool(given.settings or given.urllib3)


if __name__ == "__main__" and not _work():
    main(ROW, TITLE, measure, __doc__)
