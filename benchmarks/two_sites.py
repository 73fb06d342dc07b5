"""Two sites of a sender and of his recipients, under gunicorn, with a notifier and a name server.

All on loopback addresses; the databases are SQLite as installed (WAL, synchronous=FULL), or as
given. Nothing is switched off but the limits to what one address may send.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.programs import program
from tests.live.servers import AgentServer, Nsd
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.tables import mailboxes

SENDER, PASSWORD = "alice@a.test", "wonderland"
GUNICORN = ("--worker-class", "gthread", "--workers", "2", "--threads", "8")
UNLIMITED = """notifications_per_second = 1000000
notification_burst = 1000000
max_inbox = 1000000000
max_storage = 1000000000000
"""


@dataclass
class TwoSites:
    """alice's site, that of her recipients, and what is between them."""

    a: AgentServer
    b: AgentServer
    names: Nsd
    here: Agent
    there: Agent
    notifier: "subprocess.Popen[bytes] | None" = None

    def start_notifier(self, interval: float = 5.0) -> None:
        """As contrib/systemd/xhmtp-notify-loop.service runs it."""
        log = (self.a.directory / "notifier.log").open("ab")
        with log:
            self.notifier = self.a.popen("xhmtp-notify", "--loop", str(interval), stderr=log)

    def pause(self) -> None:
        """Stops whatever would work while nothing is to do."""
        if self.notifier is not None:
            os.kill(self.notifier.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Goes on with that."""
        if self.notifier is not None:
            os.kill(self.notifier.pid, signal.SIGCONT)

    def processes(self) -> list[int]:
        """The roots of all processes that are ours: both gunicorns, the notifier, nsd."""
        started = [self.a.process, self.b.process, self.notifier, self.names.process]
        return [process.pid for process in started if process is not None]

    def arrived(self) -> int:
        """How many notifications are in the inboxes."""
        with self.there.database.reading() as connection:
            total = connection.execute(select(func.sum(mailboxes.c.last_position))).scalar()
        return int(total or 0)

    def authorization(self) -> tuple[str, str]:
        """alice's log-in, as a header field."""
        return "Authorization", basic_credentials(SENDER, PASSWORD)

    def stop(self) -> None:
        """Ends all."""
        self.go_on()
        for process in (self.notifier, self.names.process):
            if process is not None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=30)
        self.notifier = self.names.process = None
        for server in (self.a, self.b):
            server.stop()
        self.here.database.close()
        self.there.database.close()


@contextmanager
def two_sites(
    directory: Path,
    *,
    settings: str = "",
    databases: tuple[str, str] = ("", ""),
    options: tuple[str, ...] = GUNICORN,
) -> Iterator[TwoSites]:
    """Both, started, with an account for alice; ended whatever happens."""
    program("nsd", "nsd")
    (directory / "names").mkdir(parents=True)
    names = Nsd(directory / "names")

    def server(domain: str, address: str, database: str) -> AgentServer:
        return AgentServer(
            domain, address, directory / domain, names.port, database=database,
            options=options, extra_settings=UNLIMITED + settings,
        )  # fmt: skip

    a = server("a.test", "127.0.0.2", databases[0])
    b = server("b.test", "127.0.0.3", databases[1])
    sites = TwoSites(a, b, names, a.agent(), b.agent())
    try:
        names.start({one.domain: one.zone() for one in (a, b)})
        sites.here.accounts.add(Endpoint.parse(SENDER), PASSWORD)
        a.start()
        b.start()
        yield sites
    finally:
        sites.stop()


def add_recipients(sites: TwoSites, addresses: list[str]) -> None:
    """Accounts at the other site, which no password opens."""
    for address in addresses:
        sites.there.accounts.add(Endpoint.parse(address), None)
