"""Two Postfix instances: one takes messages and relays them, the other delivers them to Maildirs.

Each has a configuration, a queue and a port of its own, and is Debian's Postfix with its own
defaults but for these: no DNS is asked and nothing is looked up for a client's address (both would
cost it time), nothing is in a chroot, and its processes are kept (``max_use``), so that what they
have written can be counted. There is no syslog here, so that it does not log either.
"""

import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import NotMeasured
from benchmarks.programs import as_root, program
from tests.live.servers import free_port, until

FRAME = Path("/usr/share/postfix/master.cf.dist")


@dataclass
class Postfix:
    """One instance."""

    directory: Path
    address: str
    domain: str
    more: str = ""
    port: int = 0

    def prepare(self) -> None:
        """Writes its configuration."""
        self.port = free_port(self.address)
        for name in ("etc", "queue", "data"):
            (self.directory / name).mkdir(parents=True)
        shutil.chown(self.directory / "data", "postfix")
        (self.directory / "etc/master.cf").write_text(self._services())
        (self.directory / "etc/main.cf").write_text(
            f"""compatibility_level = 3.6
queue_directory = {self.directory}/queue
data_directory = {self.directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{self.domain}
mydomain = {self.domain}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
alias_maps =
biff = no
max_use = 100000
message_size_limit = 1073741824
virtual_mailbox_limit = 0
{self.more}
"""
        )

    def _services(self) -> str:
        """Debian's own table of services, without chroot, the SMTP server at our address."""
        lines = []
        for line in FRAME.read_text().splitlines():
            fields = line.split()
            if len(fields) >= 8 and fields[1] in ("inet", "unix", "unix-dgram", "pass", "fifo"):
                fields[4] = "n"
                if fields[:2] == ["smtp", "inet"]:
                    fields[0] = f"{self.address}:{self.port}"
                line = " ".join(fields)
            lines.append(line)
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        self._run("start")
        until(lambda: (self.directory / "queue/pid/master.pid").exists(), "Postfix starts")

    def stop(self) -> None:
        """Ends it."""
        self._run("stop", check=False)

    @property
    def process(self) -> int:
        """Its master."""
        return int((self.directory / "queue/pid/master.pid").read_text())

    def _run(self, what: str, *, check: bool = True) -> None:
        done = subprocess.run(
            [program("postfix", "postfix"), "-c", str(self.directory / "etc"), what],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise NotMeasured(f"Postfix does not start: {done.stderr.strip()[-500:]}")


@dataclass
class TwoPostfixes:
    """The one that takes messages, and the one behind it with the Maildirs."""

    first: Postfix
    second: Postfix
    boxes: Path
    recipients: tuple[str, ...]

    def processes(self) -> list[int]:
        """The masters of both."""
        return [self.first.process, self.second.process]

    def arrived(self) -> int:
        """How many messages are in the Maildirs."""
        return sum(len(list((self.boxes / name / "new").iterdir())) for name in self.recipients)

    def empty(self) -> None:
        """Removes what was delivered; so that the counting stays as quick as it was."""
        for box in self.boxes.iterdir():
            for file in (box / "new").iterdir():
                file.unlink()

    def submit(self, count: int, size: int, sessions: int, recipients: int = 1) -> None:
        """Hands in so many messages by SMTP, over sessions that are kept; waits until taken.

        With one recipient it is ``user@``, with several ``1user@`` and so on.
        """
        subprocess.run(
            [program("smtp-source", "postfix"), "-d", "-m", str(count), "-s", str(sessions),
             "-l", str(size), "-r", str(recipients), "-f", f"alice@{self.first.domain}",
             "-t", f"user@{self.second.domain}", "-S", "a measurement",
             f"inet:{self.first.address}:{self.first.port}"],
            check=True, capture_output=True,
        )  # fmt: skip


@contextmanager
def two_postfixes(directory: Path, recipients: int = 100) -> Iterator[TwoPostfixes]:
    """Both, started, and ended whatever happens. Raises NotMeasured."""
    program("postfix", "postfix")
    program("smtp-source", "postfix")
    as_root("Postfix")
    directory.mkdir(parents=True)
    user = pwd.getpwnam("nobody")
    boxes = directory / "boxes"
    boxes.mkdir()
    names = ["user", *(f"{number}user" for number in range(recipients + 1))]
    for name in names:
        for place in ("", "new", "cur", "tmp"):
            (boxes / name / place).mkdir(exist_ok=True)
            shutil.chown(boxes / name / place, user.pw_uid, user.pw_gid)
    table = directory / "boxes.map"
    table.write_text("".join(f"{name}@b.test {name}/\n" for name in names))
    second = Postfix(
        directory / "second", "127.0.0.12", "b.test",
        f"virtual_mailbox_domains = b.test\nvirtual_mailbox_base = {boxes}\n"
        f"virtual_mailbox_maps = texthash:{table}\nvirtual_uid_maps = static:{user.pw_uid}\n"
        f"virtual_gid_maps = static:{user.pw_gid}\n",
    )  # fmt: skip
    second.prepare()
    first = Postfix(
        directory / "first", "127.0.0.11", "a.test", f"relayhost = [{second.address}]:{second.port}"
    )
    first.prepare()
    both = TwoPostfixes(first, second, boxes, tuple(names))
    try:
        second.start()
        first.start()
        yield both
    finally:
        first.stop()
        second.stop()


def wait_until_arrived(
    sites: TwoPostfixes, count: int, *, every: float, seconds: float = 600.0
) -> None:
    """Waits until so many messages are in the Maildirs."""
    end = time.monotonic() + seconds
    while sites.arrived() < count:
        if time.monotonic() > end:
            raise RuntimeError(f"Postfix delivered {sites.arrived()} of {count}")
        time.sleep(every)
