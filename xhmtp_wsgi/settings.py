"""The settings: one table, told by the fields of two dataclasses, which feeds loader and reference.

Each field carries its parser and its help text. ``Settings.load`` takes a path to a TOML file, a
mapping, or ready Settings; ``XHMTP_NAME`` in the environment overrides the setting ``name``
of the file. A wrong setting raises ``SettingsError``, which names it and how to mend it.

A relative path of an SQLite database is relative to the settings' file.

Long, as it is one table: a row for each setting.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import Field as DataclassField
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from xhmtp_wsgi import setting_types as types
from xhmtp_wsgi.errors import MalformedAddress, SettingsError
from xhmtp_wsgi.protocol.hostname import parse_hostname
from xhmtp_wsgi.setting_types import AgentURL, Nameserver, Network, Parser

SEARCHED_FILES = ("xhmtp.toml", "/etc/xhmtp/xhmtp.toml")


def _setting(default: Any, parse: Parser, help_text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text})


@dataclass(frozen=True, kw_only=True)
class DomainSettings:
    """What is settled for one domain: the ``[domain."a.example"]`` table."""

    name: str
    agent: AgentURL | None = _setting(
        None,
        types.agent_url,
        "where its message URLs point, as http(s)://HOST[:PORT]; by default from its SRV record",
    )
    prefix: str | None = _setting(
        None,
        types.prefix,
        "the path below which its agent answers, as seen from outside; "
        "by default from its TXT record",
    )
    verify: str = _setting(
        "origin or signature",
        types.verify,
        "which check a notification must pass to be taken",
    )
    anonymous: bool = _setting(False, types.boolean, "may its users send without From?")
    unvouched: str = _setting(
        "send",
        types.unvouched,
        "what becomes of a message for an agent that nothing but unsigned DNS names: "
        '"send" it, and mark that; "wait"; or send only what is "sealed"',
    )
    unknown_recipients: str = _setting(
        "tell",
        types.unknown_recipients,
        'what a notification for nobody gets: "tell": 404; "hide": 202, as all others then do too',
    )
    reading: bool = _setting(
        False,
        types.boolean,
        "does its agent fetch messages for its users, when they open them on their pages? "
        "Otherwise no web process opens a connection",
    )
    seal: str = _setting(
        "never",
        types.seal_policy,
        'are messages sealed to their recipients\' keys? "never"; "known": to whoever has keys, '
        'others get them in the clear; "always": or they are not sent. Its users may choose more',
    )
    web_key_directory: bool = _setting(
        False,
        types.boolean,
        "does its agent serve its users' OpenPGP keys at /.well-known/openpgpkey/, outside the "
        "prefix? Otherwise that path is the site's, as all others are",
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one agent."""

    domains: Mapping[str, DomainSettings]
    database: str = _setting(
        "sqlite:///xhmtp.db", types.database_url, "any SQLAlchemy URL; relative to this file"
    )
    database_schema: str = _setting(
        "",
        types.schema_name,
        "the schema of a PostgreSQL database that the tables are in; made where it is not there; "
        "empty: the user's own",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        types.proxies,
        'addresses or networks whose X-Forwarded-For is believed; "unix": whoever comes over a '
        "Unix socket",
    )
    resolver: tuple[Nameserver, ...] = _setting(
        (), types.nameservers, 'name servers to ask, as "127.0.0.1:5353"; empty: the system\'s'
    )
    allow_networks: tuple[Network, ...] = _setting(
        (), types.networks, "private networks that may be reached; by default none is"
    )
    allow_ports: tuple[int, ...] = _setting(
        (),
        types.ports,
        "the only ports that agents of others may be reached at; by default 80, 443 and those "
        "above 1023 that browsers speak HTTP to",
    )
    spool: str = _setting(
        "",
        types.text,
        "the directory where uploads wait until they are whole; empty: the system's for "
        "temporary files",
    )
    key_directory: str = _setting(
        "keys", types.text, "where the secrets of signing keys are; relative to this file"
    )
    key_wait: float = _setting(
        3600.0, types.seconds, "seconds for which a new key is published before it signs"
    )
    htpasswd: str = _setting(
        "",
        types.text,
        "a file of users and passwords as Apache's htpasswd makes it, who then have accounts; "
        "relative to this file; needs the extra `htpasswd`",
    )
    remote_user: bool = _setting(
        False,
        types.boolean,
        "is whom the web server has logged in (REMOTE_USER) the user of that name?",
    )
    max_message_size: int = _setting(
        1 << 30, types.octets, "octets of a message that is taken for sending; above it 413"
    )
    max_header_size: int = _setting(
        1 << 20, types.octets, "octets of the header block of a message that is taken for sending"
    )
    max_recipients: int = _setting(
        10_000, types.count, "recipients that one message may have; above it 422"
    )
    max_notification_size: int = _setting(
        64 << 10, types.octets, "octets of the body of a notification; above it 413"
    )
    max_notification_headers: int = _setting(
        16 << 10, types.octets, "octets of the header block in a notification; above it 413"
    )
    max_batch: int = _setting(
        100,
        types.count,
        "notifications that are taken in one request; 1: none are taken together",
    )
    max_batch_size: int = _setting(
        1 << 20, types.octets, "octets of the body of such a request; above it 413"
    )
    failed_logins: int = _setting(
        10,
        types.count,
        "failed log-ins in a quarter of an hour that one address may have for one account; five "
        "times as many for all accounts, twenty times as many for one account from everywhere",
    )
    max_inbox: int = _setting(
        100_000, types.count, "notifications that one inbox may hold; above it 507"
    )
    max_storage: int = _setting(
        10 << 30, types.octets, "octets of messages that one sender may have kept; above it 507"
    )
    notifications_per_second: float = _setting(
        100.0,
        types.seconds,
        "notifications that are taken of one address, and of one domain, in the long run; "
        "above it 429",
    )
    notification_burst: int = _setting(
        12_000, types.count, "notifications that are taken of one address or domain at once"
    )
    seal_within: float = _setting(
        20.0,
        types.seconds,
        "seconds for which the keys of a message's recipients are looked for while it is handed in",
    )
    keep_for: float = _setting(
        30 * 86400.0, types.seconds, "seconds for which a message is kept, if it does not say"
    )
    long_polls: int = _setting(
        4, types.count, "requests that may wait for news at the same time in one process"
    )
    reading_at_once: int = _setting(
        2,
        types.count,
        "messages that one process fetches for its users at the same time; fewer than the threads "
        "that it has, so that slow agents of others do not hold them all",
    )
    page_size: int = _setting(50, types.count, "items on a page of the feed")
    site_name: str = _setting(
        "", types.text, "what the pages call the site; empty: the domain's name"
    )
    accent_colour: str = _setting(
        "#1f5f8b",
        types.colour,
        "the pages' colour, as #rrggbb; it is made darker or lighter where it could not be read",
    )
    templates: str = _setting(
        "",
        types.text,
        "a directory of templates that take the place of ours of the same name; relative to this "
        "file",
    )
    retry_first: float = _setting(
        60.0, types.seconds, "seconds from the first try of a notification to the second"
    )
    retry_longest: float = _setting(
        4 * 3600.0, types.seconds, "seconds between two tries at the most"
    )
    give_up_after: float = _setting(
        5 * 86400.0, types.seconds, "seconds after which an untold recipient is given up"
    )
    delay_report_after: float = _setting(
        4 * 3600.0, types.seconds, "seconds after which a sender is told that a recipient waits"
    )
    remember_for: float = _setting(
        90 * 86400.0,
        types.seconds,
        "seconds for which it is still known what became of a message that has expired",
    )
    tls_remembered_for: float = _setting(
        180 * 86400.0,
        types.seconds,
        "seconds for which a domain that was reached over TLS is not spoken to in clear",
    )
    metrics: tuple[Network, ...] = _setting(
        (),
        types.networks,
        "addresses or networks that may read PREFIX/metrics, for Prometheus; by default none",
    )
    lease: float = _setting(
        300.0,
        types.seconds,
        "seconds for which a notifier may hold an entry of the queue; longer than `try_deadline`",
    )
    try_deadline: float = _setting(
        30.0, types.seconds, "seconds that one try of a notification may take in all"
    )
    pass_limit: float = _setting(
        600.0, types.seconds, "seconds after which a pass of the notifier takes on nothing new"
    )
    concurrency: int = _setting(
        16, types.count, "notifications that are on their way at the same time"
    )
    concurrency_per_destination: int = _setting(
        4, types.count, "notifications on their way to one domain at the same time"
    )

    def __post_init__(self) -> None:
        """Raises SettingsError where settings do not fit each other."""
        if self.lease <= self.try_deadline:
            # A try is begun only while the lease outlasts it: none ever would be.
            raise SettingsError(
                "lease",
                f"{self.lease:g} s is not longer than try_deadline, {self.try_deadline:g} s, so "
                "that nothing would be delivered: make lease longer, or try_deadline shorter",
            )

    @classmethod
    def load(
        cls,
        source: "Settings | Mapping[str, Any] | str | os.PathLike[str]",
        environ: Mapping[str, str] | None = None,
        directory: str | os.PathLike[str] = "",
        *,
        needs_domain: bool = True,
    ) -> "Settings":
        """Settings from a TOML file, a mapping of the same shape, or as they are.

        ``directory``: what the relative paths of a mapping are relative to; by default the current
        one. ``needs_domain``: false for a person's own program, which acts for none. Raises
        SettingsError, naming the setting, or the file that cannot be read.
        """
        if isinstance(source, Settings):
            return source
        if isinstance(source, Mapping):
            found = _from_mapping(source, Path(directory).absolute(), environ or {})
            return found.with_domain() if needs_domain else found
        path = Path(source)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(str(path), f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(str(path), "is not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(str(path), f"is not TOML: {error}") from None
        found = _from_mapping(table, path.resolve().parent, environ or {})
        return found.with_domain() if needs_domain else found

    def with_domain(self) -> "Settings":
        """The same. Raises SettingsError where they name no domain."""
        if not self.domains:
            raise SettingsError("domain", 'no domain; write a table such as [domain."a.example"]')
        return self


def find_file(environ: Mapping[str, str]) -> str:
    """The settings' file that is used where none is named; SettingsError if there is none."""
    if named := environ.get("XHMTP_CONFIG"):
        return named
    for path in SEARCHED_FILES:
        if Path(path).is_file():
            return path
    raise SettingsError(
        "settings", f"none of {', '.join(SEARCHED_FILES)} is there; 'xhmtp init DOMAIN' makes one"
    )


def table(kind: type[Settings] | type[DomainSettings]) -> tuple["DataclassField[Any]", ...]:
    """The rows of the table: the fields that are settings, with parser and help in metadata."""
    return tuple(row for row in fields(kind) if "parse" in row.metadata)


def _from_mapping(
    source: Mapping[str, Any], directory: Path, environ: Mapping[str, str]
) -> Settings:
    given = dict(source)
    domain_tables = given.pop("domain", {})
    for row in table(Settings):
        override = environ.get(f"XHMTP_{row.name.upper()}")
        if override is not None:
            given[row.name] = override
    values = _parse(Settings, given, "")
    if not isinstance(domain_tables, Mapping):
        raise SettingsError("domain", 'no table, such as [domain."a.example"]')
    domains = {}
    for name, domain_table in domain_tables.items():
        domain = _domain(str(name), domain_table)
        domains[domain.name] = domain
    values["database"] = _anchored(values.get("database", Settings.database), directory)
    for name in ("htpasswd", "templates"):
        if values.get(name):
            values[name] = str(directory / values[name])
    values["key_directory"] = str(directory / values.get("key_directory", Settings.key_directory))
    return Settings(domains=domains, **values)


def _domain(name: str, given: object) -> DomainSettings:
    where = f'domain."{name}"'
    try:
        domain = parse_hostname(name)
    except MalformedAddress as error:
        raise SettingsError(where, str(error)) from None
    if not isinstance(given, Mapping):
        raise SettingsError(where, "is not a table")
    return DomainSettings(name=domain, **_parse(DomainSettings, given, where + "."))


def _parse(
    kind: type[Settings] | type[DomainSettings], given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    rows = {row.name: row for row in table(kind)}
    values = {}
    for name, value in given.items():
        if name not in rows:
            raise SettingsError(
                f"{where}{name}", f"there is no such setting, only {', '.join(sorted(rows))}"
            )
        try:
            values[name] = rows[name].metadata["parse"](value)
        except ValueError as error:
            raise SettingsError(f"{where}{name}", str(error)) from None
    return values


def _anchored(database: str, directory: Path) -> str:
    url = make_url(database)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return database
    return url.set(database=str(directory / url.database)).render_as_string(hide_password=False)
