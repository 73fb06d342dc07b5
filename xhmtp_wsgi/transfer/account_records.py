"""Accounts, tokens, preferences and signing keys as JSON has them, and taken from there.

Of a signing key there is what the database knows: its secret is a file, which is copied by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from argon2 import Type, extract_parameters
from argon2.exceptions import InvalidHashError
from sqlalchemy import Connection, insert, select

from xhmtp_wsgi.accounts import accounts
from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import Malformed, MalformedSignature
from xhmtp_wsgi.feed_tokens import tokens
from xhmtp_wsgi.preferences import FORM_SECRET, MOST_VALUE, preferences
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.signature import KeyName
from xhmtp_wsgi.row_json import RowForm, harmless, octets_of
from xhmtp_wsgi.signing_keys import keys

ACCOUNT = RowForm(accounts, without={"id", "address"})
TOKEN = RowForm(tokens, without={"id", "account_id"})
PREFERENCE = RowForm(preferences, without={"owner"})
SIGNING_KEY = RowForm(keys, without={"domain"})

# What a password's hash may cost whoever logs in: ours take a fraction of that.
MOST_MEMORY = 256 << 10  # KiB
MOST_ROUNDS, MOST_LANES = 20, 16
MOST_NAME = 100  # characters of the name of a preference


def account_owners(connection: Connection) -> set[str]:
    """Everybody who has an account, or has chosen something."""
    return {
        *connection.execute(select(accounts.c.address)).scalars(),
        *connection.execute(select(preferences.c.owner).distinct()).scalars(),
    }


def account_of(connection: Connection, owner: Endpoint) -> dict[str, Any] | None:
    """The account, with its tokens; None where there is none."""
    row = connection.execute(
        select(accounts).where(accounts.c.address == str(owner.canonical))
    ).one_or_none()
    if row is None:
        return None
    found = connection.execute(
        select(tokens).where(tokens.c.account_id == row.id).order_by(tokens.c.id)
    )
    return {**ACCOUNT.encode(row), "tokens": [TOKEN.encode(token) for token in found]}


def take_account(connection: Connection, owner: Endpoint, given: Mapping[str, Any]) -> str:
    """Makes the account, or adds the tokens to one that was made here; what was done, in words.

    One that came from the same place before is left as it is: a token that was revoked here since
    stays revoked. Raises Malformed.
    """
    values, found = _checked(owner, given)
    here = connection.execute(
        select(accounts).where(accounts.c.address == str(owner))
    ).one_or_none()
    if here is not None and here.created_at == values["created_at"]:
        return "its account was here already"
    if here is None:
        number = connection.execute(
            insert(accounts).values(address=str(owner), **values).returning(accounts.c.id)
        ).scalar_one()
    else:
        number = here.id
    for token in found:
        connection.execute(
            insert_or(connection, tokens)
            .values(account_id=number, **token)
            .on_conflict_do_nothing()
        )
    if here is not None:
        return "the account that was made here keeps its password"
    return "its account is made"


def check_account(owner: Endpoint, given: Mapping[str, Any]) -> None:
    """Raises Malformed for what is no account."""
    _checked(owner, given)


def _checked(
    owner: Endpoint, given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    listed = given.get("tokens")
    values = ACCOUNT.decode({name: one for name, one in given.items() if name != "tokens"})
    if values["password_hash"] is not None and not _is_password_hash(values["password_hash"]):
        raise Malformed(f"the password of {owner} is not a hash that this program makes")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Malformed(f"the tokens of {owner} are no list")
    found = [TOKEN.decode(token) for token in listed]
    for token in found:
        token["label"] = harmless(token["label"])
        if len(token["hash"]) != 32:
            raise Malformed(f"a token of {owner} is no hash")
    return values, found


def _is_password_hash(text: str) -> bool:
    if len(text) > 1000:
        return False
    try:
        cost = extract_parameters(text)
    except InvalidHashError:
        return False
    return (
        cost.type is Type.ID
        and cost.memory_cost <= MOST_MEMORY
        and cost.time_cost <= MOST_ROUNDS
        and cost.parallelism <= MOST_LANES
    )


def preferences_of(connection: Connection, owner: Endpoint) -> list[dict[str, Any]]:
    """What somebody has chosen."""
    found = connection.execute(
        select(preferences)
        .where(preferences.c.owner == str(owner.canonical), preferences.c.name != FORM_SECRET)
        .order_by(preferences.c.name)
    )
    return [PREFERENCE.encode(row) for row in found]


def take_preferences(
    connection: Connection, owner: Endpoint, given: Sequence[Mapping[str, Any]]
) -> None:
    """Adds what he has not chosen here. Raises Malformed."""
    for fields in given:
        values = PREFERENCE.decode(fields)
        if len(values["name"]) > MOST_NAME or len(values["value"]) > MOST_VALUE:
            raise Malformed(f"what {owner} has chosen is too long")
        connection.execute(
            insert_or(connection, preferences)
            .values(owner=str(owner), **values)
            .on_conflict_do_nothing()
        )


def signing_keys_of(connection: Connection, domain: str) -> list[dict[str, Any]]:
    """What is known of the keys that a domain signs with."""
    found = connection.execute(
        select(keys).where(keys.c.domain == domain).order_by(keys.c.created_at, keys.c.selector)
    )
    return [SIGNING_KEY.encode(row) for row in found]


def take_signing_keys(
    connection: Connection, domain: str, given: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Adds those that are not here; the selectors of those that were added. Raises Malformed."""
    added = []
    for fields in given:
        values = SIGNING_KEY.decode(fields)
        # The selector is the name of the secret's file.
        try:
            name = KeyName.parse(str(KeyName(values["selector"], domain)))
        except MalformedSignature:
            raise Malformed(f"a signing key of {domain} has no name") from None
        if len(octets_of(values["public"], "signing_key.public")) != 32:
            raise Malformed(f"the signing key {name} is none")
        done = connection.execute(
            insert_or(connection, keys)
            .values(domain=domain, **{**values, "selector": name.selector})
            .on_conflict_do_nothing()
            .returning(keys.c.selector)
        )
        if done.first() is not None:
            added.append(name.selector)
    return added
