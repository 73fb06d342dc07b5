"""The endpoints that this agent acts for, and who may log in as one.

Passwords are hashed slowly (passwords.py); a feed token (feed_tokens.py) can read its owner's feed
and do nothing else (docs/protocol.md, section 9).

A site's own users are asked beside them (site_users.py): one whom the site knows has an account
without a password of ours from the first time that somebody asks for him.

Security: an unknown address costs as much as a wrong password, and gets the same answer.
"""

import hmac
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from xhmtp_wsgi import feed_tokens
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import (
    Duplicate,
    MalformedAddress,
    Misdirected,
    NotAuthenticated,
    NotFound,
)
from xhmtp_wsgi.feed_tokens import Token, tokens
from xhmtp_wsgi.passwords import MAX_PASSWORD, Passwords
from xhmtp_wsgi.protocol.access_code import hash_code
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.site_users import SiteUsers

accounts = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("address", Text, nullable=False, unique=True),
    Column("password_hash", Text),
    Column("created_at", Double, nullable=False),
)

_ACCOUNT = select(accounts.c.id, accounts.c.password_hash).where(
    accounts.c.address == bindparam("address")
)
_ACCOUNT_WITH_TOKEN = (
    select(accounts.c.id, accounts.c.password_hash, tokens.c.hash.label("token_hash"))
    .outerjoin(
        tokens, and_(tokens.c.account_id == accounts.c.id, tokens.c.hash == bindparam("hash"))
    )
    .where(accounts.c.address == bindparam("address"))
)

WRONG = "the user name or the password is not right"


@dataclass(frozen=True, slots=True)
class Account:
    """An endpoint that this agent acts for."""

    id: int
    endpoint: Endpoint


class Accounts:
    """The accounts of one agent."""

    def __init__(
        self,
        database: Database,
        domains: Collection[str],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        users: SiteUsers | None = None,
        taken: Callable[[Endpoint], bool] = lambda _: False,
    ) -> None:
        """``domains``: those that the agent acts for; ``clock``: seconds since the epoch.

        ``users``: those of the site, who need no account made for them; ``taken``: is that address
        another thing than somebody's, so that nobody can have it?
        """
        self._users = users
        self._taken = taken
        self._database = database
        self._domains = frozenset(domains)
        self._clock = clock
        self._passwords = Passwords(monotonic)

    def acts_for(self, domain: str) -> bool:
        """Is that one of this agent's domains?"""
        return domain in self._domains

    @property
    def has_site_users(self) -> bool:
        """Are the site's own users asked beside these accounts?"""
        return self._users is not None

    def add(self, endpoint: Endpoint, password: str | None) -> Account:
        """Makes an account; with no password, only the site's own log-in can open it.

        Raises Misdirected for a domain that is not ours, Duplicate, also for a group's address, or
        Malformed for a password that is empty or over MAX_PASSWORD.
        """
        if not self.acts_for(endpoint.domain):
            raise Misdirected(f"this agent does not act for {endpoint.domain}")
        if self._taken(endpoint.canonical):
            raise Duplicate(f"{endpoint} is a group")
        hashed = None if password is None else self._passwords.hash(password)
        address = str(endpoint.canonical)
        try:
            with self._database.transaction() as connection:
                row = connection.execute(
                    insert(accounts)
                    .values(address=address, password_hash=hashed, created_at=self._clock())
                    .returning(accounts.c.id)
                ).one()
        except IntegrityError:
            raise Duplicate(f"{address} has an account already") from None
        return Account(row.id, endpoint.canonical)

    def remove(self, endpoint: Endpoint) -> None:
        """Removes the account and its tokens. Raises NotFound."""
        with self._database.transaction() as connection:
            found = connection.execute(
                delete(accounts).where(accounts.c.address == str(endpoint.canonical))
            )
        if not found.rowcount:
            raise NotFound(f"{endpoint} has no account here")

    def set_password(self, endpoint: Endpoint, password: str) -> None:
        """Replaces the password. Raises NotFound, or Malformed as ``add`` does."""
        hashed = self._passwords.hash(password)
        with self._database.transaction() as connection:
            found = connection.execute(
                update(accounts)
                .where(accounts.c.address == str(endpoint.canonical))
                .values(password_hash=hashed)
            )
        if not found.rowcount:
            raise NotFound(f"{endpoint} has no account here")

    def all(self) -> list[Endpoint]:
        """Every endpoint that has an account, by address."""
        with self._database.reading() as connection:
            found = connection.execute(select(accounts.c.address).order_by(accounts.c.address))
            return [Endpoint.parse(row.address) for row in found]

    def find(self, endpoint: Endpoint) -> Account | None:
        """The account of that endpoint; made now for one whom the site knows.

        An account without a password is that of a user of the site: with him it ends.
        """
        if not self.acts_for(endpoint.domain):
            return None
        return self.of_row(endpoint.canonical, self._row(endpoint))

    def of_row(self, endpoint: Endpoint, row: Any) -> Account | None:
        """As ``find``, for whoever has asked for the account's row himself; None: there is none.

        ``endpoint``: in its canonical form, and of a domain of ours.
        """
        if self._users is not None and (row is None or row.password_hash is None):
            known = self._users.exists(str(endpoint))
            if row is None and known:
                return self._made(endpoint)
            if known is False:
                return None
        return None if row is None else Account(row.id, endpoint)

    def named(self, user: str) -> Endpoint | None:
        """The endpoint that a user name means: the whole address, or the part before the @.

        None if it means none, or, where the agent acts for several domains, users of several.
        """
        domains = [""] if "@" in user else [f"@{domain}" for domain in self._domains]
        found = []
        for domain in domains:
            try:
                endpoint = Endpoint.parse(user + domain).canonical
            except MalformedAddress:
                continue
            if len(domains) == 1 or self.find(endpoint) is not None:
                found.append(endpoint)
        return found[0] if len(found) == 1 else None

    def logged_in(self, environ: Mapping[str, Any]) -> Account | None:
        """The account of whom the site has logged in by its own means; None if it has nobody."""
        name = None if self._users is None else self._users.logged_in(environ)
        endpoint = None if name is None else self.named(name)
        if endpoint is None or not self.acts_for(endpoint.domain):
            return None
        row = self._row(endpoint)
        return self._made(endpoint) if row is None else Account(row.id, endpoint)

    def authenticate(self, endpoint: Endpoint | None, password: str) -> Account:
        """The account that this password opens. Raises NotAuthenticated."""
        row = None if endpoint is None else self._row(endpoint)
        return self.authenticate_row(endpoint, row, password)

    def authenticate_row(self, endpoint: Endpoint | None, row: Any, password: str) -> Account:
        """As ``authenticate``, for whoever has asked for the account's row himself."""
        if row is not None or self._users is None:
            right = self._passwords.verify(row.password_hash if row else None, password)
            if endpoint is not None and row is not None and right:
                return Account(row.id, endpoint.canonical)
        if endpoint is not None and self._right_for_site(endpoint.canonical, password):
            made = self._made(endpoint.canonical) if row is None else Account(row.id, endpoint)
            if made is not None:
                return made
        raise NotAuthenticated(WRONG)

    def _right_for_site(self, endpoint: Endpoint, password: str) -> bool:
        if self._users is None or not self.acts_for(endpoint.domain):
            return False
        return len(password) <= MAX_PASSWORD and self._users.check_password(str(endpoint), password)

    def _row(self, endpoint: Endpoint) -> Any:
        with self._database.reading() as connection:
            return self.row(connection, endpoint)

    def row(self, connection: Connection, endpoint: Endpoint) -> Any:
        """The row of an endpoint's account, for ``of_row`` and ``authenticate_row``; None: none."""
        return connection.execute(_ACCOUNT, {"address": str(endpoint.canonical)}).one_or_none()

    def _row_with_token(self, endpoint: Endpoint, secret: str) -> tuple[Any, bool]:
        """The account's row, and whether that is a token of it."""
        hashed = hash_code(secret)
        with self._database.reading() as connection:
            row = connection.execute(
                _ACCOUNT_WITH_TOKEN, {"address": str(endpoint.canonical), "hash": hashed}
            ).one_or_none()
        return row, row is not None and hmac.compare_digest(row.token_hash or b"", hashed)

    def _made(self, endpoint: Endpoint) -> Account | None:
        """The account of a user of the site, new unless another thread was first.

        None where the site calls a user what is a group here: what comes for that is not his.
        """
        try:
            return self.add(endpoint, None)
        except Duplicate:
            row = self._row(endpoint)
            return None if row is None else Account(row.id, endpoint)

    def authenticate_reader(self, endpoint: Endpoint, secret: str) -> Account:
        """The account whose feed this token or password opens. Raises NotAuthenticated."""
        row, is_token = self._row_with_token(endpoint, secret)
        if is_token:
            return Account(row.id, endpoint.canonical)
        return self.authenticate_row(endpoint, row, secret)

    def authenticate_token(self, endpoint: Endpoint, secret: str) -> Account:
        """The account whose feed this token opens. Raises NotAuthenticated."""
        row, is_token = self._row_with_token(endpoint, secret)
        if not is_token:
            raise NotAuthenticated(WRONG)
        return Account(row.id, endpoint.canonical)

    def add_token(self, endpoint: Endpoint, label: str) -> str:
        """Makes a feed token and returns it; it cannot be shown again. Raises NotFound."""
        account = self.find(endpoint)
        if account is None:
            raise NotFound(f"{endpoint} has no account here")
        return feed_tokens.add(self._database, account.id, label, self._clock())

    def tokens(self, endpoint: Endpoint) -> list[Token]:
        """The feed tokens of an endpoint, oldest first."""
        row = self._row(endpoint)
        return [] if row is None else feed_tokens.listed(self._database, row.id)

    def revoke_token(self, endpoint: Endpoint, identifier: int) -> None:
        """Ends a token at once. Raises NotFound if that endpoint has none of that number."""
        row = self._row(endpoint)
        if row is None or not feed_tokens.revoke(self._database, row.id, identifier):
            raise NotFound(f"{endpoint} has no token {identifier}")
