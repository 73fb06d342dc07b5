"""Lists of keys to seal to, asked of other domains' agents and kept as long as they are good.

What an address of ours publishes is read from the database: a site of one worker would wait for
itself. All others are asked for at the same time (parallel_lookup.py), by key_lookup.py.

Security: a list that is not signed is refused. One that is kept is used for an hour at most, and
not for a moment longer because its agent cannot be asked.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from sqlalchemy import Column, Double, Table, Text, delete, select

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.errors import SignatureInvalid, XHMTPError
from xhmtp_wsgi.key_lookup import FoundKeys, look_up
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Recipient
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender.keys_resource import published_keys
from xhmtp_wsgi.sender.parallel_lookup import ParallelLookup

EACH = 10.0  # seconds for one address, at most

fetched_keys = Table(
    "fetched_keys",
    metadata,
    Column("address", Text, primary_key=True),
    Column("recipients", Text, nullable=False),
    Column("fetched_at", Double, nullable=False),
    Column("good_until", Double, nullable=False),
)
Keys: TypeAlias = tuple[Recipient, ...]


def fetch_keys(
    agent: Agent, recipients: Iterable[Endpoint], within: float
) -> dict[Endpoint, Keys | XHMTPError]:
    """What each publishes to seal to, or why that is not known; ``within`` so many seconds."""
    found: dict[Endpoint, Keys | XHMTPError] = {}
    others = []
    for endpoint in dict.fromkeys(recipients):
        if agent.accounts.acts_for(endpoint.domain):
            found[endpoint] = published_keys(agent, endpoint).sealing
        else:
            others.append(endpoint)
    found |= _kept(agent.database, others, agent.clock())
    to_ask = [endpoint for endpoint in others if endpoint not in found]

    def ask(endpoint: Endpoint, left: float) -> FoundKeys:
        answer = look_up(agent, endpoint, min(EACH, left))
        if answer.signed_by is None:
            raise SignatureInvalid(f"{endpoint.domain} does not sign them")
        return answer

    asked = ParallelLookup(ask, to_ask, within, agent.monotonic).run()
    fetched = [answer for answer in asked.values() if isinstance(answer, FoundKeys)]
    _keep(agent.database, fetched, agent.clock())
    for endpoint, answer in asked.items():
        found[endpoint] = answer.sealing if isinstance(answer, FoundKeys) else answer
    return found


def _kept(database: Database, endpoints: Sequence[Endpoint], now: float) -> dict[Endpoint, Keys]:
    """The lists that were fetched a short while ago and are good yet."""
    wanted = {str(endpoint): endpoint for endpoint in endpoints}
    with database.reading() as connection:
        rows = connection.execute(
            select(fetched_keys.c.address, fetched_keys.c.recipients).where(
                fetched_keys.c.address.in_(wanted),
                # A clock that was set back makes nothing good for longer.
                fetched_keys.c.fetched_at <= now,
                fetched_keys.c.good_until > now,
            )
        ).all()
    return {wanted[row.address]: parsed(row.recipients) for row in rows}


def _keep(database: Database, fetched: Sequence[FoundKeys], now: float) -> None:
    if not fetched:
        return
    with database.transaction() as connection:
        for found in sorted(fetched, key=lambda one: str(one.endpoint)):
            values = {
                "recipients": written(found.sealing),
                "fetched_at": now,
                "good_until": found.good_until,
            }
            connection.execute(
                insert_or(connection, fetched_keys)
                .values(address=str(found.endpoint), **values)
                .on_conflict_do_update(index_elements=[fetched_keys.c.address], set_=values)
            )
        connection.execute(delete(fetched_keys).where(fetched_keys.c.good_until <= now))


def written(recipients: Iterable[Recipient]) -> str:
    """Keys as they are stored."""
    return "\n".join(map(str, recipients))


def parsed(text: str) -> Keys:
    """What ``written`` has made."""
    return tuple(Recipient.parse(line) for line in text.splitlines())
