"""The database: reached, with this program's tables, whole, in a place that is fit for it."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks.finding import Finding, broken, ok
from xhmtp_wsgi.errors import DatabaseUnavailable, XHMTPError
from xhmtp_wsgi.schema import SCHEMA

LOOKED_THROUGH = 256 << 20  # octets; a larger SQLite file would take too long
CLOCKS_APART = 60.0  # seconds
_ELSEWHERE = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs")


def findings(agent: Agent) -> Iterator[Finding]:
    """All that can be seen of the database itself."""
    where = make_url(agent.settings.database).render_as_string(hide_password=True)
    try:
        version = agent.database.version()
    except XHMTPError as error:
        yield _unreachable(where, error)
        return
    if version is not None and version != SCHEMA:
        yield _other_tables(where, version)
        return
    if version is None:
        yield ok("database.tables", where, "is empty; the tables are made when first used")
    else:
        yield ok("database.tables", where, f"has the tables of this program, version {version}")
    if agent.database.is_sqlite:
        yield from _sqlite(agent, where)
    else:
        yield from _postgresql(agent, where)


def _unreachable(where: str, error: XHMTPError) -> Finding:
    reason = getattr(error, "reason", "") or str(error)
    words = {
        "readonly": "give the file and its directory to the user of web server and notifier",
        "unable to open": "see that its directory is there and may be written by this user",
        "malformed": "restore it from the last backup, or dump it: sqlite3 FILE .recover",
        "not a database": "name another file in the setting database, or restore the backup",
        "password authentication": "mend user and password in the setting database",
        "does not exist": "make it: createdb, and a user who owns it",
        "refused": "start PostgreSQL, or mend host and port in the setting database",
    }
    remedy = next((words[word] for word in words if word in reason), "see that it runs")
    return broken("database", where, f"cannot be used: {reason}", remedy)


def _other_tables(where: str, version: str) -> Finding:
    if version < SCHEMA:
        return broken(
            "database.tables",
            where,
            f"has version {version} of the tables, this program wants {SCHEMA}",
            "xhmtp db upgrade",
        )
    return broken(
        "database.tables",
        where,
        f"has version {version} of the tables, made by a newer program than this ({SCHEMA})",
        "install the newest xhmtp_wsgi here too, and restart the web server",
    )


def _sqlite(agent: Agent, where: str) -> Iterator[Finding]:
    file = agent.database.file
    if file is None or not file.exists():
        return
    kind = filesystem_of(file)
    if kind.startswith(_ELSEWHERE):
        yield broken(
            "database.place",
            where,
            f"is on {kind}: SQLite cannot lock there, and may lose what it has acknowledged",
            "put it on a disk of this machine, or use PostgreSQL",
        )
    if file.stat().st_size > LOOKED_THROUGH:
        return
    try:
        with agent.database.reading() as connection:
            said = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    except DatabaseUnavailable as error:
        yield _unreachable(where, error)
        return
    if said != "ok":
        yield broken(
            "database",
            where,
            f"is damaged: {str(said).splitlines()[-1]}",
            "restore it from the last backup, or dump it: sqlite3 FILE .recover",
        )
    else:
        yield ok("database", where, "is whole")


def _postgresql(agent: Agent, where: str) -> Iterator[Finding]:
    try:
        with agent.database.reading() as connection:
            yield from _read_only(connection, where)
            apart = float(
                connection.execute(
                    text("SELECT extract(epoch FROM clock_timestamp())")
                ).scalar_one()
            ) - float(agent.clock())
    except XHMTPError as error:
        yield _unreachable(where, error)
        return
    if abs(apart) > CLOCKS_APART:
        yield broken(
            "clock",
            where,
            f"the clock of the database and that of this machine are {abs(apart):.0f} s apart",
            "set both by NTP: chrony or systemd-timesyncd",
        )


def _read_only(connection: Connection, where: str) -> Iterator[Finding]:
    if connection.execute(text("SHOW transaction_read_only")).scalar() == "on":
        yield broken(
            "database",
            where,
            "takes no writing: a standby, or set to read only",
            "name the primary in the setting database",
        )
    else:
        yield ok("database", where, "can be read and written")


def filesystem_of(file: Path) -> str:
    """The kind of filesystem that a file is on, as Linux names it; empty where unknown."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found, longest = "", -1
    resolved = file.resolve()
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = fields[1].replace("\\040", " ")
        if resolved.is_relative_to(place) and len(place) >= longest:
            found, longest = fields[2], len(place)
    return found
