"""An installation that is well, to be broken in one way at a time; what is said of it then."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from demonstration.name_server import NameServer
from tests.live.servers import AgentServer
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.xhmtp import main
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.published_records import key_zone_record
from xhmtp_wsgi.sender.notifier import Notifier


@dataclass(frozen=True)
class Said:
    """What a check said. ``lines``: one dict a finding; ``code``: how it ended."""

    code: int
    lines: list[dict[str, Any]]

    def wrong(self) -> set[str]:
        """What is broken or to be seen to; that it is reached in clear is known to all these."""
        return {
            line["check"]
            for line in self.lines
            if line["state"] in ("broken", "warning") and line["check"] != "clear"
        }

    def of(self, check: str) -> str:
        """The words of what is wrong: fault and remedy."""
        found = [
            f"{line['where']}: {line['found']} → {line['remedy']}"
            for line in self.lines
            if line["check"] == check and line["state"] in ("broken", "warning")
        ]
        assert found, f"{check} is not among {self.lines}"
        return "\n".join(found)


@dataclass
class Installation:
    """A domain with its agent, its name server, an account, a key that is published, a notifier."""

    server: AgentServer
    dns: NameServer
    scheme: str = "http"
    more_records: str = ""
    _records: str = field(default="", init=False)

    def prepare(self) -> None:
        """Makes the account and the key, publishes all, and lets the notifier run once."""
        agent = self.server.agent()
        agent.accounts.add(Endpoint.parse(f"alice@{self.server.domain}"), "wonderland")
        key = agent.signing_keys.add(self.server.domain)
        records = self.server.records()
        if self.scheme == "https":
            records = records.replace("_xhmtp._tcp", "_xhmtps._tcp")
        self._records = records + f"{key_zone_record(key)}\n".replace(" TXT", " 60 TXT")
        self.dns.set_zone(self.zone)
        Notifier(agent).run_pass()
        agent.database.close()

    @property
    def zone(self) -> str:
        """All that is published."""
        return self._records + self.more_records

    @property
    def database(self) -> Path:
        """The file that holds it."""
        return self.server.directory / f"{self.server.domain}.db"

    def agent(self) -> Agent:
        """An agent in this process, with nothing cached."""
        return self.server.agent()

    @contextmanager
    def published(self, old: str, new: str) -> Iterator[None]:
        """The zone with one thing replaced, for a while."""
        assert old in self.zone, old
        self.dns.set_zone(self.zone.replace(old, new))
        try:
            yield
        finally:
            self.dns.set_zone(self.zone)

    def check(self, *arguments: str, settings: Path | None = None) -> Said:
        """`xhmtp check --json`, in this process."""
        done = CliRunner().invoke(
            main, ["--config", str(settings or self.server.settings), "check", "--json", *arguments]
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Said(done.exit_code, json.loads(done.output))

    def changed_settings(self, old: str, new: str) -> Path:
        """A file of settings beside ours, with one thing replaced."""
        text = self.server.settings.read_text()
        assert old in text, old
        file = self.server.settings.with_suffix(".changed.toml")
        file.write_text(text.replace(old, new, 1))
        return file
