"""Aliases and groups as JSON has them, and taken from there (docs/moving.md)."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from xhmtp_wsgi.addressing import CATCH_ALL, aliases
from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.group_register import MOST_TITLE, Joining, Writers, groups, members
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.row_json import RowForm, harmless

ALIAS = RowForm(aliases)
GROUP = RowForm(groups, without={"address"})
MEMBER = RowForm(members, without={"group_address"})


def aliases_of(connection: Connection, domain: str) -> list[dict[str, Any]]:
    """The aliases of a domain, by address."""
    found = connection.execute(select(aliases).order_by(aliases.c.address))
    return [ALIAS.encode(row) for row in found if row.address.endswith(f"@{domain}")]


def take_aliases(connection: Connection, domain: str, given: Sequence[Mapping[str, Any]]) -> None:
    """Adds those that are not here. Raises Malformed."""
    for fields in given:
        values = ALIAS.decode(fields)
        address, target = Endpoint.parse(values["address"]), Endpoint.parse(values["target"])
        if (
            (str(address.canonical), address.domain) != (values["address"], domain)
            or str(target) != values["target"]
            or target.local == CATCH_ALL
            or (address.local == CATCH_ALL and values["may_send"])
        ):
            raise Malformed(f"an alias of {domain} is not written as aliases are kept")
        connection.execute(insert_or(connection, aliases).values(**values).on_conflict_do_nothing())


def group_owners(connection: Connection) -> set[str]:
    """The addresses that are groups."""
    return set(connection.execute(select(groups.c.address)).scalars())


def group_of(connection: Connection, owner: Endpoint) -> dict[str, Any] | None:
    """The group that an address is, with its members; None where it is none."""
    row = connection.execute(
        select(groups).where(groups.c.address == str(owner.canonical))
    ).one_or_none()
    if row is None:
        return None
    return {**GROUP.encode(row), "members": _members_of(connection, row.address)}


def take_group(connection: Connection, owner: Endpoint, given: Mapping[str, Any]) -> None:
    """Makes the group with its members, where there is none. Raises Malformed."""
    listed = given.get("members")
    values = GROUP.decode({name: one for name, one in given.items() if name != "members"})
    if (
        values["writers"] not in list(Writers)
        or values["joining"] not in list(Joining)
        or not isinstance(listed, list)
    ):
        raise Malformed(f"the group {owner} is not written as groups are kept")
    values["title"] = (harmless(values["title"]) or "")[:MOST_TITLE]
    rows = [_checked_member(one) for one in listed]
    here = select(groups.c.address).where(groups.c.address == str(owner))
    if connection.execute(here).first() is not None:
        return
    connection.execute(insert(groups).values(address=str(owner), **values))
    for row in rows:
        connection.execute(insert(members).values(group_address=str(owner), **row))


def _members_of(connection: Connection, group: str) -> list[dict[str, Any]]:
    found = connection.execute(
        select(members).where(members.c.group_address == group).order_by(members.c.member)
    )
    return [MEMBER.encode(row) for row in found]


def _checked_member(given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Malformed("a member of a group is no object")
    values = MEMBER.decode(given)
    address = Endpoint.parse(values["address"])
    if str(address) != values["address"] or str(address.canonical) != values["member"]:
        raise Malformed("a member of a group is not written as members are kept")
    return values
