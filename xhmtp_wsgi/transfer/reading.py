"""An export as it is read: every file compared with the manifest, every object with its form.

`check` goes through all of it and writes nothing; the import then reads it again, and compares it
again, while it writes.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.inbox_transfer import checked_mailbox, checked_notices
from xhmtp_wsgi.recipient.kept_copies import PIECE
from xhmtp_wsgi.sender.drafts_transfer import checked_draft, checked_octets
from xhmtp_wsgi.sender.imported_message import (
    CheckedMessage,
    Outbox,
    checked_message,
    checked_recipients,
)
from xhmtp_wsgi.transfer import layout
from xhmtp_wsgi.transfer.account_records import check_account
from xhmtp_wsgi.transfer.directory import (
    opened,
    raise_changed,
    read_lines,
    read_object,
    real_directory,
)
from xhmtp_wsgi.transfer.layout import FileFacts, Manifest
from xhmtp_wsgi.transfer.maildir import files_by_identifier
from xhmtp_wsgi.verified_file import verified

LONGEST_ROW = 256 << 10  # octets of a line, but for a header in it
LONGEST_DRAFT = 16 << 20  # octets of a line

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AddressSettings:
    """What settings.json has: all but the messages."""

    account: Fields | None
    group: Fields | None
    filters: tuple[Fields, ...]
    author_keys: tuple[Fields, ...]
    known_authors: tuple[Fields, ...]
    preferences: tuple[Fields, ...]
    mailbox: Fields | None


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """What domain.json has."""

    filters: tuple[Fields, ...]
    aliases: tuple[Fields, ...]
    signing_keys: tuple[Fields, ...]
    tls_domains: tuple[Fields, ...]


@dataclass(frozen=True, slots=True)
class AddressExport:
    """The export of one address, its manifest read."""

    path: Path
    manifest: Manifest

    @property
    def owner(self) -> Endpoint:
        """Whose it is."""
        return Endpoint.parse(self.manifest.of)

    def settings(self) -> AddressSettings:
        """The account and what belongs to it. Raises Malformed."""
        found = read_object(self.path / layout.SETTINGS, self._facts(layout.SETTINGS))
        mailbox = found.get("mailbox")
        return AddressSettings(
            _object(found, "account"),
            _object(found, "group"),
            _objects(found, "filters"),
            _objects(found, "author_keys"),
            _objects(found, "known_authors"),
            _objects(found, "preferences"),
            None if mailbox is None else checked_mailbox(_object(found, "mailbox") or {}),
        )

    def notices(self, mailbox: Fields) -> Iterator[dict[str, Any]]:
        """The rows of the notices. Raises Malformed."""
        lines = self._lines(layout.NOTICES, LONGEST_ROW)
        return checked_notices(mailbox, lines)

    def copies(self) -> Callable[[Fields], Iterator[bytes]]:
        """Gives the octets of a kept copy, by its row. Raises Malformed where they are others."""
        files = files_by_identifier(self.path / layout.MAILBOX_MAILDIR)
        files |= files_by_identifier(self.path / layout.QUARANTINE_MAILDIR)

        def read(copy: Fields) -> Iterator[bytes]:
            notice = copy["notice"]
            if notice not in files:
                raise Malformed(f"the copy of {notice} is missing")
            with opened(files[notice]) as file:
                yield from verified(
                    file,
                    size=copy["size"],
                    digest=copy["digest"],
                    what=f"the copy of {notice}",
                    piece=PIECE,
                )

        return read

    def drafts(self) -> Iterator[Fields]:
        """The drafts, as JSON has them. Raises Malformed."""
        return self._lines(layout.DRAFTS, LONGEST_DRAFT)

    def attachment(self, identifier: str, most: int) -> bytes:
        """The octets of what is attached to a draft, or at least more than ``most``."""
        real_directory(self.path / layout.ATTACHMENTS)
        with opened(self.path / layout.ATTACHMENTS / identifier) as file:
            return file.read(min(most, os.fstat(file.fileno()).st_size) + 1)

    def sent(self, outbox: Outbox) -> Iterator[tuple[CheckedMessage, Iterable[Fields]]]:
        """The messages, each with its recipients, which are read before the next one is.

        Raises Malformed, or SettingsError.
        """
        files = files_by_identifier(self.path / layout.SENT_MAILDIR)
        longest = LONGEST_ROW + 2 * outbox.settings.max_header_size
        messages = self._lines(layout.SENT, longest)
        recipients = self._lines(layout.RECIPIENTS, LONGEST_ROW)
        for fields, told in _paired(messages, recipients):
            with ExitStack() as stack:
                octets = None
                if fields.get("emptied_at") is None:
                    file = files.get(str(fields.get("id")))
                    if file is None:
                        raise Malformed(f"the message {str(fields.get('id'))[:50]!r} is missing")
                    octets = stack.enter_context(opened(file))
                yield checked_message(outbox, fields, octets), told

    def _lines(self, name: str, longest: int) -> Iterator[dict[str, Any]]:
        return read_lines(self.path / name, self._facts(name), longest)

    def _facts(self, name: str) -> FileFacts:
        if name not in self.manifest.files:
            raise Malformed(f"{layout.MANIFEST} does not name {name}")
        return self.manifest.files[name]


@dataclass(frozen=True, slots=True)
class Export:
    """An export of an address or of a domain; ``domain_settings`` only of the latter."""

    manifest: Manifest
    addresses: tuple[AddressExport, ...]
    domain_settings: DomainSettings | None


def open_export(path: Path) -> Export:
    """The export in that directory, its manifests read. Raises NotFound, Malformed or Forbidden."""
    try:
        manifest = Manifest.parse(read_object(path / layout.MANIFEST, None))
    except NotFound:
        raise NotFound(f"{path} is no export, or not a whole one") from None
    if manifest.kind == layout.ADDRESS:
        return Export(manifest, (AddressExport(path, manifest),), None)
    below = tuple(_below(path, manifest, address) for address in manifest.addresses)
    facts = manifest.files.get(layout.DOMAIN_SETTINGS)
    if facts is None:
        raise Malformed(f"{layout.MANIFEST} does not name {layout.DOMAIN_SETTINGS}")
    found = read_object(path / layout.DOMAIN_SETTINGS, facts)
    settings = DomainSettings(
        _objects(found, "filters"),
        _objects(found, "aliases"),
        _objects(found, "signing_keys"),
        _objects(found, "tls_domains"),
    )
    return Export(manifest, below, settings)


def check(export: AddressExport, outbox: Outbox) -> None:
    """Goes through all files of an address. Raises Malformed, NotFound or SettingsError."""
    settings = export.settings()
    if settings.account is not None:
        check_account(export.owner, settings.account)
    copy = export.copies()
    for row in export.notices(settings.mailbox or _NO_MAILBOX):
        if row["kept"] is not None:
            for _ in copy(row["kept"]):
                pass
    for draft in export.drafts():
        for attachment in checked_draft(draft)[1]:
            checked_octets(attachment, export.attachment)
    for message, recipients in export.sent(outbox):
        for _ in message.pieces():
            pass
        for _ in checked_recipients(outbox, message, recipients):
            pass


_NO_MAILBOX: Fields = {"last_position": 0, "last_quarantined": 0}


def _below(path: Path, manifest: Manifest, address: Endpoint) -> AddressExport:
    """The export of one address in that of a domain; an address has no slash in it."""
    directory = real_directory(path / str(address))
    facts = manifest.files.get(f"{address}/{layout.MANIFEST}")
    if facts is None:
        raise Malformed(f"{layout.MANIFEST} does not name that of {address}")
    own = Manifest.parse(read_object(directory / layout.MANIFEST, facts))
    if own.kind != layout.ADDRESS or own.of != str(address):
        raise_changed(directory / layout.MANIFEST)
    return AddressExport(directory, own)


def _paired(
    messages: Iterable[Fields], recipients: Iterable[Fields]
) -> Iterator[tuple[Fields, Iterable[Fields]]]:
    """Each message with its recipients; both files are in the same order."""
    groups = groupby(recipients, key=lambda one: one.get("message"))
    group = next(groups, None)
    for message in messages:
        if group is not None and group[0] == message.get("id"):
            yield message, group[1]
            group = next(groups, None)
        else:
            yield message, ()
    if group is not None:
        raise Malformed(f"{layout.RECIPIENTS} has recipients of a message that is not there")


def _object(given: Fields, name: str) -> Fields | None:
    value = given.get(name)
    if value is not None and not isinstance(value, dict):
        raise Malformed(f"{name} is no object")
    return value


def _objects(given: Fields, name: str) -> tuple[Fields, ...]:
    value = given.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Malformed(f"{name} is no list of objects")
    return tuple(value)
