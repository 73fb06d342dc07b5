"""An export as it is read: every file compared with the manifest, every object with its form.

`check` goes through all of it and writes nothing; the import then reads it again, and compares it
again, while it writes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.held_transfer import MOST_EXTRACT, checked_extracts
from xhmtp_wsgi.recipient.inbox_transfer import checked_notices
from xhmtp_wsgi.recipient.kept_copies import PIECE
from xhmtp_wsgi.sender.drafts_transfer import checked_draft, checked_octets
from xhmtp_wsgi.sender.imported_message import (
    CheckedMessage,
    File,
    Files,
    Outbox,
    checked_message,
    name_of,
)
from xhmtp_wsgi.sender.imported_recipients import checked_recipients
from xhmtp_wsgi.transfer import layout
from xhmtp_wsgi.transfer.account_records import check_account
from xhmtp_wsgi.transfer.age_files import age_files_by_name
from xhmtp_wsgi.transfer.directory import (
    opened,
    raise_changed,
    read_lines,
    read_object,
    real_directory,
)
from xhmtp_wsgi.transfer.layout import FileFacts, Manifest
from xhmtp_wsgi.transfer.maildir import files_by_identifier
from xhmtp_wsgi.transfer.settings_records import AddressSettings, DomainSettings, Fields
from xhmtp_wsgi.verified_file import verified

LONGEST_ROW = 256 << 10  # octets of a line, but for a header in it
LONGEST_DRAFT = 16 << 20  # octets of a line
LONGEST_EXTRACT = 2 * MOST_EXTRACT  # octets of a line


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
        facts = self._facts(layout.SETTINGS)
        return AddressSettings.parse(read_object(self.path / layout.SETTINGS, facts))

    def notices(self, mailbox: Fields) -> Iterator[dict[str, Any]]:
        """The rows of the notices. Raises Malformed."""
        lines = self._lines(layout.NOTICES, LONGEST_ROW)
        return checked_notices(mailbox, lines)

    def extracts(self) -> Iterator[dict[str, Any]]:
        """The rows of what was found in sealed messages. Raises Malformed."""
        return checked_extracts(self._later_lines(layout.EXTRACTS, LONGEST_EXTRACT))

    def copies(self) -> Callable[[Fields], Iterator[bytes]]:
        """Gives the octets of a kept copy, by its row. Raises Malformed where they are others."""
        files = files_by_identifier(self.path / layout.MAILBOX_MAILDIR)
        files |= files_by_identifier(self.path / layout.QUARANTINE_MAILDIR)
        # In the Maildir there is a message in place of a sealed one.
        files |= age_files_by_name(self.path)

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
        longest = LONGEST_ROW + 2 * outbox.settings.max_header_size
        files = self._files_sent()
        further = _Belonging(
            layout.REPRESENTATIONS, self._later_lines(layout.REPRESENTATIONS, longest)
        )
        recipients = _Belonging(layout.RECIPIENTS, self._lines(layout.RECIPIENTS, LONGEST_ROW))
        for fields in self._lines(layout.SENT, longest):
            message = checked_message(outbox, fields, further.to(fields.get("id")), files)
            yield message, recipients.to(message.identifier)
        further.require_end()
        recipients.require_end()

    def _files_sent(self) -> Files:
        in_clear = files_by_identifier(self.path / layout.SENT_MAILDIR)
        sealed = age_files_by_name(self.path)

        def file(identifier: str, number: int, is_sealed: bool) -> File:
            name = name_of(identifier, number)
            path = (sealed if is_sealed else in_clear).get(name)
            if path is None:
                raise Malformed(f"the message {name} is missing")
            return partial(opened, path)

        return file

    def _lines(self, name: str, longest: int) -> Iterator[dict[str, Any]]:
        return read_lines(self.path / name, self._facts(name), longest)

    def _later_lines(self, name: str, longest: int) -> Iterator[dict[str, Any]]:
        """Those of a file that older exports do not have."""
        return self._lines(name, longest) if name in self.manifest.files else iter(())

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
    settings = DomainSettings.parse(read_object(path / layout.DOMAIN_SETTINGS, facts))
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
    for _ in export.extracts():
        pass
    for message, recipients in export.sent(outbox):
        for one in message.representations:
            for _ in one.pieces():
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


class _Belonging:
    """Lines that belong to messages, of a file that has them in the order of the messages."""

    def __init__(self, name: str, lines: Iterable[Fields]) -> None:
        self._name = name
        self._groups = groupby(lines, key=lambda one: one.get("message"))
        self._next: tuple[Any, Iterator[Fields]] | None = None

    def to(self, identifier: object) -> Iterable[Fields]:
        """Those of this message; they are to be read before those of the next one."""
        if self._next is None:
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] != identifier:
            return ()
        found, self._next = self._next[1], None
        return found

    def require_end(self) -> None:
        """Raises Malformed where there are more lines than belong to any message."""
        if self._next is not None or next(self._groups, None) is not None:
            raise Malformed(f"{self._name} has lines of a message that is not there")
