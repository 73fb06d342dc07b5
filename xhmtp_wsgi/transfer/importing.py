"""Import: an export is taken in, all of it or nothing, and the same again changes nothing.

First all of it is read and checked, while the agent goes on working; then it is written in one
transaction, and compared once more as it is.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Duplicate, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.held_transfer import take_extracts
from xhmtp_wsgi.recipient.inbox_transfer import TakenNotices, take_notices
from xhmtp_wsgi.sender.drafts_transfer import take_draft
from xhmtp_wsgi.sender.imported_message import Outbox
from xhmtp_wsgi.sender.outbox_import import Taken, take_message
from xhmtp_wsgi.transfer.layout import Manifest
from xhmtp_wsgi.transfer.reading import AddressExport, Export, check, open_export
from xhmtp_wsgi.transfer.settings_records import take_domain_settings, take_settings


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken in of an address."""

    owner: Endpoint
    account: str
    sent: Taken
    notices: TakenNotices
    drafts: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was taken in, of all addresses.

    ``new_keys``: signing keys that were not known here, whose secrets must be copied;
    ``elsewhere``: where the links lead that were given out, if that is not this agent.
    """

    imported: tuple[Imported, ...]
    new_keys: tuple[str, ...]
    elsewhere: str | None


class _Undone(Exception):
    """Ends a transaction that was only tried."""


def import_export(agent: Agent, path: Path, *, dry_run: bool = False) -> ImportReport:
    """Takes in the export in that directory; with ``dry_run``, finds out what that would do.

    Raises Malformed for what is no export or was changed, SettingsError where the settings are not
    made for it, Duplicate where something in it is somebody else's here, NotFound, or a Transient
    error; then nothing was changed.
    """
    export = open_export(path)
    domain = export.manifest.domain
    if not agent.accounts.acts_for(domain):
        raise SettingsError(
            f'domain."{domain}"', f"is not there, so that nothing of {domain} can be imported"
        )
    now = agent.clock()
    for address in export.addresses:
        check(address, Outbox(address.owner, agent.settings, now))
    elsewhere = _elsewhere(agent, export.manifest)
    report: ImportReport | None = None
    try:
        with agent.database.transaction() as connection:
            # First: who may write in whose name is settled by that.
            new_keys = _take_domain(connection, export, now)
            taken = tuple(_take(connection, agent, one, now) for one in export.addresses)
            report = ImportReport(taken, new_keys, elsewhere)
            if dry_run:
                raise _Undone
    except _Undone:
        pass
    except IntegrityError:
        # Its own text has the values.
        raise Duplicate(
            "something in it is there twice, or is somebody else's here: nothing was imported"
        ) from None
    assert report is not None  # noqa: S101 - else an error has left
    return report


def _take(connection: Connection, agent: Agent, export: AddressExport, now: float) -> Imported:
    owner, settings = export.owner, export.settings()
    account = take_settings(connection, owner, settings)
    notices = TakenNotices()
    if settings.mailbox is not None:
        rows = export.notices(settings.mailbox)
        most = agent.settings.max_inbox
        notices = take_notices(
            connection, owner, settings.mailbox, rows, export.copies(), most=most, now=now
        )
    take_extracts(connection, owner, export.extracts())
    drafts = sum(take_draft(connection, owner, one, export.attachment) for one in export.drafts())
    outbox, taken = Outbox(owner, agent.settings, now), Taken()
    for message, recipients in export.sent(outbox):
        take_message(connection, outbox, message, recipients, taken)
    return Imported(owner, account, taken, notices, drafts)


def _take_domain(connection: Connection, export: Export, now: float) -> tuple[str, ...]:
    if export.domain_settings is None:
        return ()
    return take_domain_settings(connection, export.manifest.domain, export.domain_settings, now)


def _elsewhere(agent: Agent, manifest: Manifest) -> str | None:
    """Where its links lead, if that is known not to be here."""
    if manifest.agent is None or manifest.prefix is None:
        return None
    there = f"{manifest.agent}/{manifest.prefix}"
    try:
        here = f"{agent.url_of(manifest.domain)}/{agent.prefixes.of(manifest.domain)}"
    except XHMTPError:
        return None
    return None if here == there else there
