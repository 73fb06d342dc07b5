"""Export: what both wings and the accounts have of an address, written to a directory.

Everything is read in one transaction that sees the database as it was at one moment, while the
agent goes on working. A message passes through in pieces.
"""

import base64
from collections.abc import Callable, Iterator
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
from xhmtp_wsgi.protocol.sealing import is_sealed
from xhmtp_wsgi.recipient import inbox_transfer
from xhmtp_wsgi.recipient.held_transfer import extracts_of
from xhmtp_wsgi.recipient.kept_transfer import copied_octets
from xhmtp_wsgi.recipient.mailbox import INBOX
from xhmtp_wsgi.sender import outbox_transfer
from xhmtp_wsgi.sender.drafts_transfer import drafts_of
from xhmtp_wsgi.sender.imported_message import name_of
from xhmtp_wsgi.sender.outbox_transfer import SentMessage
from xhmtp_wsgi.transfer import layout, settings_records
from xhmtp_wsgi.transfer.age_files import AgeFiles, path_of
from xhmtp_wsgi.transfer.directory import (
    new_directory,
    write_lines,
    write_object,
    write_private,
)
from xhmtp_wsgi.transfer.layout import FileFacts, Manifest
from xhmtp_wsgi.transfer.maildir import MaildirWriter
from xhmtp_wsgi.transfer.notice_message import as_message
from xhmtp_wsgi.transfer.sealed_note import sealed_note


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
            owners = settings_records.owners(connection, domain)
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


def _export_domain(
    source: _Source, domain: str, owners: list[Endpoint], directory: Path
) -> list[Exported]:
    name = layout.DOMAIN_SETTINGS
    settings = settings_records.domain_settings_of(source.connection, domain)
    files = {name: write_object(directory / name, settings)}
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
    settings = settings_records.settings_of(connection, owner)
    files = {layout.SETTINGS: write_object(directory / layout.SETTINGS, settings)}
    age_files = AgeFiles(directory)
    notices = _notices(connection, owner, directory, age_files, exported)
    files[layout.NOTICES] = write_lines(directory / layout.NOTICES, notices)
    extracts = extracts_of(connection, owner)
    files[layout.EXTRACTS] = write_lines(directory / layout.EXTRACTS, extracts)
    files |= _write_sent(connection, owner, directory, age_files, exported)
    files[layout.DRAFTS] = _write_drafts(connection, owner, directory, exported)
    manifest = source.manifest(layout.ADDRESS, str(owner), files)
    return exported, write_object(directory / layout.MANIFEST, manifest)


def _notices(
    connection: Connection,
    owner: Endpoint,
    directory: Path,
    age_files: AgeFiles,
    exported: Exported,
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
            _write_notice(connection, owner, maildir, age_files, notice)
        yield notice


def _write_notice(
    connection: Connection,
    owner: Endpoint,
    maildir: MaildirWriter,
    age_files: AgeFiles,
    notice: dict[str, Any],
) -> None:
    """Its kept copy as it is, or else a message that says where the message is.

    A copy that is sealed is an age file, and the message says that.
    """
    identifier, received_at, kept = notice["id"], notice["received_at"], notice["kept"]
    flags = ("F" if notice["starred_at"] else "") + ("S" if notice["seen_at"] else "")
    facts = None
    is_copy_sealed = kept is not None and _is_sealed_copy(connection, identifier)
    if is_copy_sealed:
        facts = age_files.add(identifier, copied_octets(connection, identifier))
    if kept is not None and not is_copy_sealed:
        octets = copied_octets(connection, identifier)
        facts = maildir.add(identifier, received_at, octets, flags)
    else:
        where = path_of(identifier) if is_copy_sealed else None
        words = as_message(base64.b64decode(notice["headers"]), notice, owner.domain, where)
        maildir.add(identifier, received_at, [words], flags)
    if facts is not None:
        kept["digest"] = base64.b64encode(bytes.fromhex(facts.sha256)).decode()


def _is_sealed_copy(connection: Connection, notice: str) -> bool:
    return is_sealed(next(copied_octets(connection, notice), b""))


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
    connection: Connection,
    owner: Endpoint,
    directory: Path,
    age_files: AgeFiles,
    exported: Exported,
) -> dict[str, FileFacts]:
    maildir = MaildirWriter(directory / layout.SENT_MAILDIR, owner.domain)
    told: list[str] = []

    def messages() -> Iterator[dict[str, Any]]:
        for message in outbox_transfer.sent_by(connection, owner):
            exported.messages += 1
            exported.octets += sum(kept.size for kept in message.kept)
            told.append(message.identifier)
            _write_octets(connection, message, maildir, age_files)
            yield message.fields

    def further() -> Iterator[dict[str, Any]]:
        for identifier in told:
            yield from outbox_transfer.further_representations_of(connection, identifier)

    def recipients() -> Iterator[dict[str, Any]]:
        for identifier in told:
            for recipient in outbox_transfer.recipients_of(connection, identifier):
                exported.waiting += recipient.waits
                if recipient.unfinished:
                    exported.unfinished.append(recipient.entry)
                yield recipient.fields

    return {
        layout.SENT: write_lines(directory / layout.SENT, messages()),
        layout.REPRESENTATIONS: write_lines(directory / layout.REPRESENTATIONS, further()),
        layout.RECIPIENTS: write_lines(directory / layout.RECIPIENTS, recipients()),
    }


def _write_octets(
    connection: Connection, message: SentMessage, maildir: MaildirWriter, age_files: AgeFiles
) -> None:
    """All representations of a message that are kept, octet by octet as they are stored."""
    for kept in message.kept:
        octets = outbox_transfer.octets_of(connection, message.identifier, kept)
        if kept.is_sealed:
            age_files.add(name_of(message.identifier, kept.number), octets)
        if kept.number == 0:
            if kept.is_sealed:
                further = len(message.kept) - 1
                octets = iter([sealed_note(message.header, message.identifier, further)])
            maildir.add(message.identifier, message.created_at, octets, "S")
