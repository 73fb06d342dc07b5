"""The form of an export: the names of its files, and the manifest that tells what is in it.

An export is of an address, or of a domain: a directory with an export of each of its addresses. The
manifest is the file that is written last; it has the size and the SHA-256 of every other JSON file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xhmtp_wsgi.errors import Malformed, MalformedAddress
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.hostname import parse_hostname

FORMAT, VERSION = "xhmtp-export", 1
ADDRESS, DOMAIN = "address", "domain"

MANIFEST = "export.json"
SETTINGS = "settings.json"
NOTICES = "notices.jsonl"
EXTRACTS = "extracts.jsonl"
SENT = "sent.jsonl"
REPRESENTATIONS = "representations.jsonl"
RECIPIENTS = "recipients.jsonl"
DRAFTS = "drafts.jsonl"
ATTACHMENTS = "attachments"
SEALED = "sealed"
DOMAIN_SETTINGS = "domain.json"
MAILBOX_MAILDIR, QUARANTINE_MAILDIR, SENT_MAILDIR = "mailbox", "quarantine", "sent"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a manifest says of a file."""

    octets: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in an export, and where it comes from.

    ``of``: the address or the domain; ``agent`` and ``prefix``: where its message URLs lead, None
    where that was not known.
    """

    kind: str
    of: str
    exported: str
    program: str
    agent: str | None
    prefix: str | None
    files: Mapping[str, FileFacts]
    addresses: tuple[Endpoint, ...] = ()

    @property
    def domain(self) -> str:
        """The domain that all of it belongs to."""
        return self.of.rpartition("@")[2]

    def as_json(self) -> dict[str, Any]:
        """As it is written."""
        found: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            self.kind: self.of,
            "exported": self.exported,
            "program": self.program,
            "agent": self.agent,
            "prefix": self.prefix,
            "files": {
                name: {"octets": facts.octets, "sha256": facts.sha256}
                for name, facts in self.files.items()
            },
        }
        if self.kind == DOMAIN:
            found["addresses"] = [str(address) for address in self.addresses]
        return found

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Manifest":
        """The manifest that was written. Raises Malformed."""
        if given.get("format") != FORMAT:
            raise Malformed(f"{MANIFEST} is not that of an export")
        if given.get("version") != VERSION:
            raise Malformed(
                f"the export has the form {str(given.get('version'))[:20]!r}, and this program "
                f"reads the form {VERSION}"
            )
        kind = DOMAIN if DOMAIN in given else ADDRESS
        addresses = given.get("addresses", [])
        try:
            of = _parse_of(kind, given.get(kind))
            found = tuple(_address(one, of) for one in addresses) if kind == DOMAIN else ()
        except (MalformedAddress, TypeError) as error:
            raise Malformed(f"in {MANIFEST}: {error}") from None
        if len(set(found)) != len(found):
            raise Malformed(f"in {MANIFEST}: an address is there twice")
        texts = [given.get(name) for name in ("exported", "program", "agent", "prefix")]
        exported, program, agent, prefix = (
            one if isinstance(one, str) and one.isprintable() and len(one) <= 1000 else None
            for one in texts
        )
        files = _parse_files(given.get("files"))
        return cls(kind, of, exported or "", program or "", agent, prefix, files, found)


def _parse_of(kind: str, given: object) -> str:
    if not isinstance(given, str):
        raise Malformed(f"{MANIFEST} does not say of whom it is")
    if kind == DOMAIN:
        return parse_hostname(given)
    return str(Endpoint.parse(given).canonical)


def _address(given: object, domain: str) -> Endpoint:
    address = Endpoint.parse(str(given))
    if address.canonical != address or address.domain != domain or str(address) != given:
        raise Malformed(f"{str(address)[:100]!r} is not an address of {domain}")
    return address


def _parse_files(given: object) -> dict[str, FileFacts]:
    if not isinstance(given, dict):
        raise Malformed(f"{MANIFEST} does not say which files there are")
    found = {}
    for name, facts in given.items():
        match facts:
            case {"octets": int(octets), "sha256": str(sha256)} if octets >= 0:
                found[name] = FileFacts(octets, sha256)
            case _:
                raise Malformed(f"{MANIFEST} does not say what is in {name[:100]!r}")
    return found
