"""xhmtp init: writes the settings of a new domain, creates its database and a signing key.

What the DNS will tell is left to the DNS; what is given is written down. Nothing is asked: where
the site is, and whether it has TLS, is found out. Ends by saying what to do next.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.errors import Duplicate, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.protocol.prefix import DEFAULT_PREFIX
from xhmtp_wsgi.published_records import ZoneRecord, is_published, records_of
from xhmtp_wsgi.settings import Settings

TEMPLATE = """\
# Settings of xhmtp_wsgi. docs/settings.md tells of each that can stand here.
database = {database}       # any SQLAlchemy URL; relative to this file
trusted_proxies = []        # addresses or networks whose X-Forwarded-For is believed
resolver = {resolver}               # "127.0.0.1:5353"; empty: the system's
allow_networks = []         # private networks that may be reached; by default none is

[domain.{domain}]
{agent}
{prefix}
"""


def initialise(
    path: Path,
    domain: str,
    *,
    agent: str | None,
    prefix: str | None,
    database: str | None,
    resolver: str | None,
) -> Iterator[str]:
    """Does it, and yields lines for the terminal.

    Raises MalformedAddress for a domain that is none, SettingsError for what is given wrongly,
    Duplicate where the settings exist already: they are never overwritten.
    """
    name = parse_hostname(domain)
    content = TEMPLATE.format(
        database=_quoted(database or "sqlite:///xhmtp.db"),
        resolver=f"[{_quoted(resolver)}]" if resolver else "[]",
        domain=_quoted(name),
        agent=_line("agent", agent, f"http://{name}", "by default from its SRV record"),
        prefix=_line("prefix", prefix, DEFAULT_PREFIX, "by default from its TXT record"),
    )
    try:
        # "x": two of us at once never write over each other.
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise Duplicate(
            f"{path} is there already; edit it, or name another with --config"
        ) from None
    except OSError as error:
        raise SettingsError(str(path), f"cannot be written: {error.strerror}") from None
    try:
        settings = Settings.load(path, os.environ)
        made = make_agent(settings)
        made.database.upgrade()
        made.signing_keys.add(name)
    except Exception:
        path.unlink()
        raise
    if made.database.file is not None:
        # It holds access codes.
        made.database.file.chmod(0o600)
    yield f"{path} is written; the database and a signing key are there."
    yield from _next(made, path, name)


def _next(agent: Agent, path: Path, domain: str) -> Iterator[str]:
    """What to do next, as far as it is not done."""
    named = f"--config {path.resolve()}"
    records = records_of(agent, domain)
    missing = [record for record in records if not _is_there(agent, record)]
    steps = []
    if missing:
        lines = "".join(f"\n       {record}" for record in missing)
        steps.append(f"Publish in the DNS of {domain}:{lines}")
    steps += [
        f"Make an account:      xhmtp {named} user add you@{domain}",
        f'Wrap your site:       application = XHMTP(site, "{path.resolve()}")',
        f"Run from cron:        * * * * *  {_program('xhmtp-notify')} {named}",
        f"See that all is well: xhmtp {named} check",
    ]
    yield "Next:"
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {step}"


def _is_there(agent: Agent, record: ZoneRecord) -> bool:
    try:
        return is_published(agent, record)
    except XHMTPError:
        return False


def _program(name: str) -> str:
    """Its whole path, as cron has few; where it is not found, its name."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name) or name


def _line(name: str, value: str | None, example: str, help_text: str) -> str:
    if value is not None:
        return f"{name} = {_quoted(value)}"
    return f"# {name} = {_quoted(example)}   # {help_text}"


def _quoted(text: str) -> str:
    """A TOML basic string."""
    if not text.isprintable():
        raise SettingsError(repr(text)[:80], "has characters that cannot be printed")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
