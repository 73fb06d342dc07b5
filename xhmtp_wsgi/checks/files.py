"""Files: may others read what is secret, can we write what we must, is there room?"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks.finding import Finding, broken, ok, warning
from xhmtp_wsgi.setting_types import Network

LITTLE, TOO_LITTLE = 1 << 30, 64 << 20  # octets free
MOST_FREE_PARTS = 20  # a twentieth of the disk is little as well

_OTHERS = stat.S_IRWXO


def findings(agent: Agent, settings_file: Path | None) -> Iterator[Finding]:
    """All that can be seen of files, without the database."""
    yield from _settings(agent, settings_file)
    yield from _proxies(agent)
    if agent.database.file is not None:
        yield from _database_file(agent.database.file)
    yield from _key_directory(Path(agent.settings.key_directory))
    yield from _spool(agent.settings.spool)


def _settings(agent: Agent, file: Path | None) -> Iterator[Finding]:
    names = ", ".join(agent.settings.domains)
    if file is None:
        yield ok("settings", "the site's own", f"can be read: {names}")
        return
    file = file.absolute()
    yield ok("settings", str(file), f"can be read: {names}")
    has_secret = make_url(agent.settings.database).password is not None
    if has_secret and file.stat().st_mode & _OTHERS:
        yield broken(
            "files.settings",
            str(file),
            "others can read it, and the database's password is in it",
            f"chmod o= {file}",
        )


def _proxies(agent: Agent) -> Iterator[Finding]:
    everybody = [network for network in agent.settings.trusted_proxies if _is_everybody(network)]
    if everybody:
        yield broken(
            "settings.proxies",
            "trusted_proxies",
            f"{everybody[0]} is everybody: whoever connects can claim any address",
            "name only the addresses of your own proxies, such as 127.0.0.1",
        )


def _is_everybody(network: Network) -> bool:
    return network.prefixlen == 0


def _database_file(file: Path) -> Iterator[Finding]:
    where = str(file)
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        if os.access(file.parent, os.W_OK | os.X_OK):
            yield ok("files.database", where, "is not there yet; it is made when first used")
        else:
            yield _unwritable(file.parent, "and the database cannot be made in it")
        return
    except OSError as error:
        yield broken(
            "files.database", where, f"cannot be reached: {error.strerror}",
            f"let this user into {file.parent}",
        )  # fmt: skip
        return
    if not os.access(file, os.R_OK | os.W_OK):
        yield broken(
            "files.database", where, "may not be written by this user",
            "run this as the user of the web server, or give both a group that may write it",
        )  # fmt: skip
    elif not os.access(file.parent, os.W_OK | os.X_OK):
        # SQLite makes its journal beside the database.
        yield _unwritable(file.parent, "and SQLite keeps its journal there")
    elif mode & _OTHERS:
        yield broken(
            "files.database", where, "others can read it; it holds access codes and messages",
            f"chmod o= {file}",
        )  # fmt: skip
    else:
        yield ok("files.database", where, "can be read and written, and not by others")
    yield from _room("disk", file.parent)


def _unwritable(directory: Path, why: str) -> Finding:
    return broken(
        "files.database",
        str(directory),
        f"may not be written by this user, {why}",
        f"give the directory to the user who runs the web server and the notifier: chown USER "
        f"{directory}",
    )


def _key_directory(directory: Path) -> Iterator[Finding]:
    for file in sorted(directory.glob("*/*.key")) if directory.is_dir() else ():
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield broken(
                "files.keys",
                str(file),
                "others can read this secret, so that it does not sign",
                f"chmod 600 {file}",
            )


def _spool(setting: str) -> Iterator[Finding]:
    directory = Path(setting or tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        yield broken(
            "files.spool",
            str(directory),
            f"an upload cannot be kept there: {error.strerror}",
            "make the directory writable, or name another in the setting spool",
        )
        return
    yield ok("files.spool", str(directory), "uploads can wait there")
    yield from _room("disk", directory)


def _room(check: str, directory: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(directory)
    megabytes = f"{usage.free >> 20:,} MB free of {usage.total >> 20:,}"
    remedy = "make room; messages are refused with 507 when there is none"
    if usage.free < TOO_LITTLE:
        yield broken(check, str(directory), megabytes, remedy)
    elif usage.free < min(LITTLE, usage.total // MOST_FREE_PARTS):
        yield warning(check, str(directory), megabytes, remedy)
    else:
        yield ok(check, str(directory), megabytes)
