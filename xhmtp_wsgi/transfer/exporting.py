"""Export: what both wings and the accounts have of an address, written to a directory.

Everything is read in one transaction that sees the database as it was at one moment, while the
agent goes on working. A message passes through in pieces.
"""

import base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import NotFound, XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox_transfer
from xhmtp_wsgi.recipient.kept_transfer import copied_octets
from xhmtp_wsgi.recipient.mailbox import INBOX
from xhmtp_wsgi.recipient.trust_transfer import authors_known_to, rule_owners, rules_of
from xhmtp_wsgi.sender import outbox_transfer
from xhmtp_wsgi.sender.drafts_transfer import draft_owners, drafts_of
from xhmtp_wsgi.sender.trust_transfer import author_keys_of, key_owners, tls_domains_known
from xhmtp_wsgi.transfer import layout
from xhmtp_wsgi.transfer.account_records import (
    account_of,
    account_owners,
    preferences_of,
    signing_keys_of,
)
from xhmtp_wsgi.transfer.addressing_records import aliases_of, group_of, group_owners
from xhmtp_wsgi.transfer.directory import (
    new_directory,
    write_lines,
    write_object,
    write_private,
)
from xhmtp_wsgi.transfer.layout import FileFacts, Manifest
from xhmtp_wsgi.transfer.maildir import MaildirWriter
from xhmtp_wsgi.transfer.notice_message import as_message


@dataclass(slots=True)
class Exported:
    """What was written of an address. ``waiting``: recipients who are still to be told."""

    owner: Endpoint
    messages: int = 0
    octets: int = 0
    waiting: int = 0
    notices: int = 0
    quarantined: int = 0
    drafts: int = 0
    unfinished: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written in all; ``handed_over``: None where that was not asked for."""

    exported: tuple[Exported, ...]
    handed_over: int | None


def export(agent: Agent, what: str, path: Path, *, hand_over: bool = False) -> ExportReport:
    """Writes all that is kept for an address, or for each address of a domain.

    ``hand_over``: afterwards nobody is told by this host of what the export has. Raises NotFound,
    Duplicate where ``path`` is there already, StorageFull, Forbidden where a notifier is at work on
    what is to be handed over; then nothing was written, and nothing changed.
    """
    owner = Endpoint.parse(what).canonical if "@" in what else None
    domain = owner.domain if owner else what.lower()
    place = _place(agent, domain)
    with new_directory(path) as directory:
        with _moment(agent.database) as connection:
            source = _Source(agent, connection, *place)
            owners = _owners(connection, domain)
            if owner in owners:
                exported = [_export_address(source, owner, directory)[0]]
            elif owner is None and owners:
                exported = _export_domain(source, domain, owners, directory)
            else:
                raise NotFound(f"nothing is kept here for {what}")
        entries = [entry for one in exported for entry in one.unfinished]
        handed_over = None
        if hand_over:
            handed_over = outbox_transfer.hand_over(agent.database, entries, agent.clock())
    return ExportReport(tuple(exported), handed_over)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where it comes from; ``url`` and ``prefix``: where its message URLs lead."""

    agent: Agent
    connection: Connection
    url: str | None
    prefix: str | None

    def manifest(
        self, kind: str, of: str, files: dict[str, FileFacts], *addresses: Endpoint
    ) -> dict[str, Any]:
        exported = datetime.fromtimestamp(self.agent.clock(), UTC).isoformat(timespec="seconds")
        program = f"xhmtp_wsgi {__version__}"
        made = Manifest(kind, of, exported, program, self.url, self.prefix, files, addresses)
        return made.as_json()


@contextmanager
def _moment(database: Database) -> Iterator[Connection]:
    """A connection that sees the database as it is now, whatever is written meanwhile."""
    with database.reading() as connection:
        if connection.dialect.name != "sqlite":
            # There each statement by itself would see what is newest.
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield connection


def _place(agent: Agent, domain: str) -> tuple[str | None, str | None]:
    """Where the domain's message URLs lead; None for what is not known just now."""
    if not agent.accounts.acts_for(domain):
        return None, None
    return (
        _if_known(lambda: str(agent.url_of(domain))),
        _if_known(lambda: agent.prefixes.of(domain)),
    )


def _if_known(ask: Callable[[], str]) -> str | None:
    try:
        return ask()
    except XHMTPError:
        return None


def _owners(connection: Connection, domain: str) -> list[Endpoint]:
    """Every address of the domain for which something is kept."""
    found = (
        account_owners(connection)
        | group_owners(connection)
        | outbox_transfer.senders(connection)
        | draft_owners(connection)
        | key_owners(connection)
        | inbox_transfer.owners(connection)
        | rule_owners(connection)
    )
    endpoints = {Endpoint.parse(one).canonical for one in found if "@" in one}
    return sorted((one for one in endpoints if one.domain == domain), key=str)


def _export_domain(
    source: _Source, domain: str, owners: list[Endpoint], directory: Path
) -> list[Exported]:
    files = {}
    settings = {
        "filters": rules_of(source.connection, domain),
        "aliases": aliases_of(source.connection, domain),
        "signing_keys": signing_keys_of(source.connection, domain),
        "tls_domains": tls_domains_known(source.connection),
    }
    name = layout.DOMAIN_SETTINGS
    files[name] = write_object(directory / name, settings)
    exported = []
    for owner in owners:
        below = directory / str(owner)
        below.mkdir(mode=0o700)
        one, manifest = _export_address(source, owner, below)
        exported.append(one)
        files[f"{owner}/{layout.MANIFEST}"] = manifest
    write_object(
        directory / layout.MANIFEST, source.manifest(layout.DOMAIN, domain, files, *owners)
    )
    return exported


def _export_address(
    source: _Source, owner: Endpoint, directory: Path
) -> tuple[Exported, FileFacts]:
    """Writes it; returns also what the manifest is, for the one of the domain."""
    exported = Exported(owner)
    connection = source.connection
    mailbox = inbox_transfer.mailbox_of(connection, owner)
    files = {
        layout.SETTINGS: write_object(
            directory / layout.SETTINGS,
            {
                "account": account_of(connection, owner),
                "group": group_of(connection, owner),
                "filters": rules_of(connection, str(owner)),
                "author_keys": author_keys_of(connection, owner),
                "known_authors": authors_known_to(connection, owner),
                "preferences": preferences_of(connection, owner),
                "mailbox": mailbox,
            },
        )
    }
    notices = _notices(connection, owner, directory, exported)
    files[layout.NOTICES] = write_lines(directory / layout.NOTICES, notices)
    files |= _write_sent(connection, owner, directory, exported)
    files[layout.DRAFTS] = _write_drafts(connection, owner, directory, exported)
    manifest = source.manifest(layout.ADDRESS, str(owner), files)
    return exported, write_object(directory / layout.MANIFEST, manifest)


def _notices(
    connection: Connection, owner: Endpoint, directory: Path, exported: Exported
) -> Iterator[dict[str, Any]]:
    """The notices as JSON has them, each put into a Maildir on the way."""
    mailbox = MaildirWriter(directory / layout.MAILBOX_MAILDIR, owner.domain)
    quarantine = MaildirWriter(directory / layout.QUARANTINE_MAILDIR, owner.domain)
    for notice in inbox_transfer.notices_of(connection, owner):
        if notice["deleted_at"] is None:
            exported.notices += 1
            exported.quarantined += notice["position"] < 0
            maildir = quarantine if notice["position"] < 0 else mailbox
            if notice["folder"] != INBOX:
                maildir = maildir.folder(notice["folder"])
            _write_notice(connection, owner, maildir, notice)
        yield notice


def _write_notice(
    connection: Connection, owner: Endpoint, maildir: MaildirWriter, notice: dict[str, Any]
) -> None:
    """Its kept copy as it is, or else a message that says where the message is."""
    flags = ("F" if notice["starred_at"] else "") + ("S" if notice["seen_at"] else "")
    kept = notice["kept"]
    if kept is None:
        octets: Iterable[bytes] = [
            as_message(base64.b64decode(notice["headers"]), notice, owner.domain)
        ]
    else:
        octets = copied_octets(connection, notice["id"])
    facts = maildir.add(notice["id"], notice["received_at"], octets, flags)
    if kept is not None:
        kept["digest"] = base64.b64encode(bytes.fromhex(facts.sha256)).decode()


def _write_drafts(
    connection: Connection, owner: Endpoint, directory: Path, exported: Exported
) -> FileFacts:
    attachments = directory / layout.ATTACHMENTS
    attachments.mkdir(mode=0o700)

    def write(identifier: str, octets: bytes) -> None:
        write_private(attachments / identifier, [octets])

    def counted() -> Iterator[dict[str, Any]]:
        for draft in drafts_of(connection, owner, write):
            exported.drafts += 1
            yield draft

    return write_lines(directory / layout.DRAFTS, counted())


def _write_sent(
    connection: Connection, owner: Endpoint, directory: Path, exported: Exported
) -> dict[str, FileFacts]:
    maildir = MaildirWriter(directory / layout.SENT_MAILDIR, owner.domain)
    told: list[str] = []

    def messages() -> Iterator[dict[str, Any]]:
        for message in outbox_transfer.sent_by(connection, owner):
            exported.messages += 1
            told.append(message.identifier)
            if message.has_octets:
                octets = outbox_transfer.octets_of(connection, message.identifier)
                maildir.add(message.identifier, message.created_at, octets, "S")
                exported.octets += message.fields["size"]
            yield message.fields

    def recipients() -> Iterator[dict[str, Any]]:
        for identifier in told:
            for recipient in outbox_transfer.recipients_of(connection, identifier):
                exported.waiting += recipient.waits
                if recipient.unfinished:
                    exported.unfinished.append(recipient.entry)
                yield recipient.fields

    return {
        layout.SENT: write_lines(directory / layout.SENT, messages()),
        layout.RECIPIENTS: write_lines(directory / layout.RECIPIENTS, recipients()),
    }
