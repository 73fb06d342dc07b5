"""Row 7: memory of an idle worker with XHMTP less without; of the notifier with a long queue.

python -m benchmarks.memory [--quick] [--rounds 3]

The worker: gunicorn with one worker, the Flask site of example_app.py with and without XHMTP around
it; proportional size (PSS, of smaps_rollup) after one request to the site, and once more after a
message has been handed in and the feed been read, with log-in. The notifier: `xhmtp-notify --loop`
with 100,000 entries in its queue (100 messages of 1,000 recipients, at 20 domains whose agent is
nginx that answers 201); its largest resident size (VmHWM) when all are told, and its resident size
at rest after that; once unsigned, and once with a key that signs each notification.

What that memory is spent on, module by module: python -m benchmarks.import_cost.
"""

import http.client
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from benchmarks.command import Asked, main
from benchmarks.figures import Goal, Line, series
from benchmarks.gunicorn_site import GunicornSite, gunicorn_site
from benchmarks.interleaved import interleaved
from benchmarks.measuring_directory import measuring_directory
from benchmarks.nginx import ANSWERS_201, nginx
from benchmarks.notifier_throughput import DOMAINS, fill, zones
from benchmarks.process_tree import largest_resident_size, proportional_size, resident_size
from benchmarks.programs import program
from benchmarks.two_sites import PASSWORD
from tests.live.delivery import waiting
from tests.live.servers import AgentServer, Nsd
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.settings import Settings

ROW, TITLE = 7, "Memory"
MB = 1e6
ONE_WORKER = ("--workers", "1", "--worker-class", "gthread", "--threads", "2")
USER = "alice@a.test"
KINDS = {"unsigned": False, "signed": True}


def ask(site: GunicornSite, method: str, path: str, body: bytes = b"", type_: str = "") -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection(site.address, site.port, timeout=60)
    headers = {"Authorization": basic_credentials(USER, PASSWORD)} if path != "/" else {}
    if type_:
        headers["Content-Type"] = type_
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def worker_size(application: str, settings: Path, *, working: bool) -> float:
    """MB of a new worker after one request; ``working``: and after two for its agent."""
    with gunicorn_site(
        application, *ONE_WORKER, environment={"XHMTP_CONFIG": str(settings)}
    ) as site:
        _must(ask(site, "GET", "/"), 200)
        if working:
            message = b"From: alice@a.test\r\nTo: bob@b.test\r\n\r\nx\r\n"
            _must(ask(site, "POST", "/xhmtp/alice/", message, "message/rfc822"), 201)
            _must(ask(site, "GET", f"/xhmtp/{USER}"), 200)
        time.sleep(1)
        return proportional_size(site.workers()[0]) / MB


def _must(status: int, expected: int) -> None:
    if status != expected:
        raise RuntimeError(f"status {status}, not {expected}")


def settings_file(directory: Path) -> Path:
    """Those of the site's agent, which has one user."""
    file = directory / "site.toml"
    file.write_text(
        f'database = "sqlite:///{directory}/site.db"\n'
        '[domain."a.test"]\nagent = "http://a.test"\nprefix = "xhmtp"\n'
    )
    agent: Agent = make_agent(Settings.load(file))
    agent.accounts.add(Endpoint.parse(USER), PASSWORD)
    agent.database.close()
    return file


def notifier_sizes(directory: Path, count: int, *, signed: bool) -> tuple[float, float]:
    """MB of the notifier at its most, and at rest after that."""
    directory.mkdir()
    with nginx(directory / "sink", ANSWERS_201) as sink:
        names = Nsd(directory)
        sender = AgentServer("a.test", "127.0.0.2", directory / "a.test", names.port)
        agent = sender.agent()
        own = sender.zone() + ([agent.signing_keys.add(sender.domain).record] if signed else [])
        names.start({sender.domain: own, **zones(sink, DOMAINS)})
        fill(sender, DOMAINS, count, 1000)
        try:
            if (agent.signing_keys.signer(sender.domain) is not None) != signed:
                raise RuntimeError("a key signs where none shall, or none where one shall")
            with _running(sender.popen("xhmtp-notify", "--loop", "1")) as process:
                while waiting(agent):
                    if process.poll() is not None:
                        raise RuntimeError("the notifier ended")
                    time.sleep(0.5)
                most = largest_resident_size(process.pid) / MB
                time.sleep(3)
                return most, resident_size(process.pid) / MB
        finally:
            agent.database.close()
            names.stop()


@contextmanager
def _running(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)


def measure(asked: Asked) -> list[Line]:
    """Worker and notifier. Raises NotMeasured."""
    program("nsd", "nsd")
    program("nginx", "nginx")
    rounds = asked.rounds_or(3)
    entries = 200 if asked.quick else 100_000
    with measuring_directory() as directory:
        settings = settings_file(directory)

        def side(application: str, working: bool) -> Callable[[], float]:
            return lambda: worker_size(application, settings, working=working)

        found = interleaved(
            {
                "with": side("benchmarks.flask_site:with_xhmtp()", False),
                "without": side("benchmarks.flask_site:without()", False),
                "working": side("benchmarks.flask_site:with_xhmtp()", True),
            },
            rounds,
            warm_up=not asked.quick,
        )
        sizes = {
            signed: [
                notifier_sizes(directory / f"{kind}{number}", entries, signed=signed)
                for number in range(1 if asked.quick else min(rounds, 3))
            ]
            for kind, signed in KINDS.items()
        }
    bare = median(found["without"])
    at_most_25 = Goal(25.0, at_least=False, absolute=True)
    at_most_64 = Goal(64.0, at_least=False, absolute=True)
    note = f"the worker without XHMTP has {bare:.1f} MB"
    return [
        Line(ROW, "idle worker, with XHMTP less without", "MB",
             series([one - bare for one in found["with"]]), goal=at_most_25, note=note),
        Line(ROW, "the same after a message handed in and a feed read", "MB",
             series([one - bare for one in found["working"]]), note=note),
        *(Line(ROW, f"notifier, {entries:,} in its queue, {kind}, at its most", "MB",
               series([most for most, _ in sizes[signed]]), goal=at_most_64)
          for kind, signed in KINDS.items()),
        *(Line(ROW, f"notifier at rest after that, {kind}", "MB",
               series([rest for _, rest in sizes[signed]]))
          for kind, signed in KINDS.items()),
    ]  # fmt: skip


if __name__ == "__main__":
    main(ROW, TITLE, measure, __doc__)
