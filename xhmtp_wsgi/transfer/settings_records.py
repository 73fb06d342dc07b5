"""What settings.json and domain.json have: gathered, read strictly, and taken in (docs/moving.md).

All that is kept of an address, or of a domain, but messages, notifications and drafts. A list that
was added later may be missing in an older export, and is empty there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection

from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import held_transfer, inbox_transfer
from xhmtp_wsgi.recipient import trust_transfer as recipient_trust
from xhmtp_wsgi.sender import drafts_transfer, outbox_transfer, sealing_transfer
from xhmtp_wsgi.sender import trust_transfer as sender_trust
from xhmtp_wsgi.transfer import account_records, addressing_records

Fields: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AddressSettings:
    """What settings.json has."""

    account: Fields | None
    group: Fields | None
    filters: tuple[Fields, ...]
    author_keys: tuple[Fields, ...]
    known_authors: tuple[Fields, ...]
    sealing_keys: tuple[Fields, ...]
    openpgp_keys: tuple[Fields, ...]
    known_sealing_keys: tuple[Fields, ...]
    held_keys: tuple[Fields, ...]
    preferences: tuple[Fields, ...]
    mailbox: Fields | None

    @classmethod
    def parse(cls, given: Fields) -> "AddressSettings":
        """Reads the object. Raises Malformed."""
        mailbox = _object(given, "mailbox")
        return cls(
            _object(given, "account"),
            _object(given, "group"),
            _objects(given, "filters"),
            _objects(given, "author_keys"),
            _objects(given, "known_authors"),
            _later_objects(given, "sealing_keys"),
            _later_objects(given, "openpgp_keys"),
            _later_objects(given, "known_sealing_keys"),
            _later_objects(given, "held_keys"),
            _objects(given, "preferences"),
            None if mailbox is None else inbox_transfer.checked_mailbox(mailbox),
        )


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """What domain.json has."""

    filters: tuple[Fields, ...]
    aliases: tuple[Fields, ...]
    signing_keys: tuple[Fields, ...]
    tls_domains: tuple[Fields, ...]

    @classmethod
    def parse(cls, given: Fields) -> "DomainSettings":
        """Reads the object. Raises Malformed."""
        return cls(
            _objects(given, "filters"),
            _objects(given, "aliases"),
            _objects(given, "signing_keys"),
            _objects(given, "tls_domains"),
        )


def owners(connection: Connection, domain: str) -> list[Endpoint]:
    """Every address of the domain for which something is kept."""
    found = (
        account_records.account_owners(connection)
        | addressing_records.group_owners(connection)
        | outbox_transfer.senders(connection)
        | drafts_transfer.draft_owners(connection)
        | sender_trust.key_owners(connection)
        | sealing_transfer.sealing_key_owners(connection)
        | inbox_transfer.owners(connection)
        | recipient_trust.rule_owners(connection)
        | held_transfer.held_key_owners(connection)
    )
    endpoints = {Endpoint.parse(one).canonical for one in found if "@" in one}
    return sorted((one for one in endpoints if one.domain == domain), key=str)


def settings_of(connection: Connection, owner: Endpoint) -> dict[str, Any]:
    """The object that settings.json has."""
    return {
        "account": account_records.account_of(connection, owner),
        "group": addressing_records.group_of(connection, owner),
        "filters": recipient_trust.rules_of(connection, str(owner)),
        "author_keys": sender_trust.author_keys_of(connection, owner),
        "known_authors": recipient_trust.authors_known_to(connection, owner),
        "sealing_keys": sealing_transfer.sealing_keys_of(connection, owner),
        "openpgp_keys": sealing_transfer.openpgp_keys_of(connection, owner),
        "known_sealing_keys": sealing_transfer.known_sealing_keys_of(connection, owner),
        "held_keys": held_transfer.held_keys_of(connection, owner),
        "preferences": account_records.preferences_of(connection, owner),
        "mailbox": inbox_transfer.mailbox_of(connection, owner),
    }


def take_settings(connection: Connection, owner: Endpoint, settings: AddressSettings) -> str:
    """Adds what is not here; what was done with the account, in words. Raises Malformed."""
    account = "it has no account"
    if settings.account is not None:
        account = account_records.take_account(connection, owner, settings.account)
    if settings.group is not None:
        addressing_records.take_group(connection, owner, settings.group)
    recipient_trust.take_rules(connection, str(owner), settings.filters)
    sender_trust.take_author_keys(connection, owner, settings.author_keys)
    recipient_trust.take_known_authors(connection, owner, settings.known_authors)
    sealing_transfer.take_sealing_keys(connection, owner, settings.sealing_keys)
    sealing_transfer.take_openpgp_keys(connection, owner, settings.openpgp_keys)
    sealing_transfer.take_known_sealing_keys(connection, owner, settings.known_sealing_keys)
    held_transfer.take_held_keys(connection, owner, settings.held_keys)
    account_records.take_preferences(connection, owner, settings.preferences)
    return account


def domain_settings_of(connection: Connection, domain: str) -> dict[str, Any]:
    """The object that domain.json has."""
    return {
        "filters": recipient_trust.rules_of(connection, domain),
        "aliases": addressing_records.aliases_of(connection, domain),
        "signing_keys": account_records.signing_keys_of(connection, domain),
        "tls_domains": sender_trust.tls_domains_known(connection),
    }


def take_domain_settings(
    connection: Connection, domain: str, settings: DomainSettings, now: float
) -> tuple[str, ...]:
    """Adds what is not here; the signing keys that were not known. Raises Malformed."""
    recipient_trust.take_rules(connection, domain, settings.filters)
    addressing_records.take_aliases(connection, domain, settings.aliases)
    sender_trust.take_tls_domains(connection, settings.tls_domains, now)
    return tuple(account_records.take_signing_keys(connection, domain, settings.signing_keys))


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


def _later_objects(given: Fields, name: str) -> tuple[Fields, ...]:
    """Those of a list that older exports do not have."""
    return _objects(given, name) if name in given else ()
