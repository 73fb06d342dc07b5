"""Limits of rates that hold over all workers and hosts: token buckets in the database.

A process takes some tokens at a time and spends them by itself, so that not each request costs a
write; and it remembers until when a bucket is empty, so that a flood is refused without one.
"""

import ipaddress
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    select,
    text,
    update,
)

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import TooMany
from xhmtp_wsgi.schema import metadata

SHARE = 0.02  # of a full bucket that a process takes at a time
HELD_FOR = 30.0  # seconds for which a process may hold what it took
MOST_HELD = 10_000  # names that a process remembers
FORGOTTEN_AFTER = 86400.0  # seconds
FORGOTTEN_AT_ONCE = 500

buckets = Table(
    "bucket",
    metadata,
    Column("name", Text, primary_key=True),
    Column("tokens", Double, nullable=False),
    Column("filled_at", Double, nullable=False, index=True),
)

_LOCKED = select(buckets).where(buckets.c.name == bindparam("bucket")).with_for_update()
_MAKE = text(
    "INSERT INTO bucket (name, tokens, filled_at) VALUES (:name, :tokens, :filled_at) "
    # Not rowcount: PostgreSQL's driver counts none for this.
    "ON CONFLICT DO NOTHING RETURNING name"
)
_SET = update(buckets).where(buckets.c.name == bindparam("bucket"))


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` at once at the most, and ``per_second`` in the long run."""

    per_second: float
    burst: float


@dataclass(slots=True)
class _Held:
    tokens: float
    until: float
    empty_until: float = 0.0


class RateLimits:
    """The buckets, as one process uses them. Safe for several threads."""

    def __init__(
        self, database: Database, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._start_afresh()

    def take(self, name: str, rate: Rate, what: str) -> None:
        """Takes one token. Raises TooMany, which says ``what`` there are too many of."""
        if self._process != os.getpid():
            self._start_afresh()
        now = self._monotonic()
        with self._lock:
            held = self._held.get(name)
            if held is not None and now < held.empty_until:
                raise TooMany(f"too many {what}", held.empty_until - now)
            if held is not None and held.tokens >= 1 and now < held.until:
                held.tokens -= 1
                return
        granted, wait = self._grant(name, rate)
        with self._lock:
            # Another thread may have taken some for the same name just now.
            held = self._held.get(name)
            there = held.tokens if held is not None and now < held.until else 0.0
            tokens = max(granted - 1, 0.0) + there
            self._held[name] = _Held(tokens, now + HELD_FOR, now + wait)
            self._held.move_to_end(name)
            while len(self._held) > MOST_HELD:
                self._held.popitem(last=False)
        if not granted:
            raise TooMany(f"too many {what}", wait)

    def left(self, connection: Connection, rates: Mapping[str, Rate]) -> dict[str, float]:
        """How many tokens are left in each of these buckets, all at one moment; takes none."""
        names = {f"name_{number}": name for number, name in enumerate(rates)}
        left = {name: rate.burst for name, rate in rates.items()}
        for row in connection.execute(_named_buckets(len(names)), names):
            left[row.name] = self._filled(row.tokens, row.filled_at, rates[row.name])
        return left

    def check(self, name: str, rate: Rate, what: str) -> None:
        """Raises TooMany where there is no token left; takes none."""
        with self._database.reading() as connection:
            left = self.left(connection, {name: rate})
        require_token(left[name], rate, what)

    def spend(self, name: str, rate: Rate) -> None:
        """Takes one token where there is one; for what has happened already."""
        self._grant(name, rate, most=1)

    def _grant(self, name: str, rate: Rate, most: float | None = None) -> tuple[float, float]:
        """Takes tokens out of the bucket: how many, and the seconds to wait where none was left."""
        now = self._clock()
        wanted = most or max(1.0, math.floor(rate.burst * SHARE))
        with self._database.transaction() as connection:
            # There first, so that it can be locked.
            made = connection.execute(
                _MAKE, {"name": name, "tokens": rate.burst, "filled_at": now}
            ).first()
            row = connection.execute(_LOCKED, {"bucket": name}).one()
            tokens = self._filled(row.tokens, row.filled_at, rate)
            granted = math.floor(min(tokens, wanted))
            connection.execute(_SET, {"bucket": name, "tokens": tokens - granted, "filled_at": now})
            if made is not None:
                # Who comes for the first time pays for sweeping out some that came long ago.
                old = (
                    select(buckets.c.name)
                    .where(buckets.c.filled_at < now - FORGOTTEN_AFTER)
                    .limit(FORGOTTEN_AT_ONCE)
                )
                connection.execute(delete(buckets).where(buckets.c.name.in_(old)))
        wait = 0.0 if granted else max(1.0, (1 - (tokens - granted)) / rate.per_second)
        return granted, wait

    def _filled(self, tokens: float, filled_at: float, rate: Rate) -> float:
        # A clock that was set back must not hold a bucket empty.
        passed = max(0.0, self._clock() - filled_at)
        return min(rate.burst, tokens + passed * rate.per_second)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._process = os.getpid()


@cache
def _named_buckets(count: int) -> Select[tuple[str, float, float]]:
    """So many buckets by their names: a list of no fixed length is written out at each request."""
    names = [bindparam(f"name_{number}", type_=Text) for number in range(count)]
    return select(buckets).where(buckets.c.name.in_(names))


def require_token(left: float, rate: Rate, what: str) -> None:
    """Raises TooMany, which says ``what`` there are too many of, where no whole token is left."""
    if left < 1:
        raise TooMany(f"too many {what}", (1 - left) / rate.per_second)


def network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> str:
    """Whom a limit by address means: an IPv4 address, or the /64 that an IPv6 one is of."""
    if address is None:
        return "unknown"
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
