"""Connections to a PostgreSQL that may fall silent, or be fallen silent to: nobody waits for ever.

psycopg waits without end where a server, frozen or cut off by its network, takes a question and
answers nothing; each request below the prefix would then hold up one of the site's workers until
none is left for the site. Here nobody waits longer than ANSWER_TIMEOUT for a sign of life. Then the
server is left alone for PAUSE, and whoever comes is told so at once; after that one asks again, and
the others are told at once until he has been answered.

The other way round, a server keeps the locks of a client that vanished in a transaction until TCP
finds out, two hours later. So each connection asks it to look sooner. What the operator has
settled, in the URL, for the role, the database or the server, is left as it is; that is looked
up once a process.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import OperationalError
from sqlalchemy import Engine, event

ANSWER_TIMEOUT = 10.0  # seconds without an octet, while an answer is waited for
CONNECT_TIMEOUT = 5  # whole seconds, as libpq has it
PAUSE = 5.0  # seconds

LETS_GO: Mapping[str, str] = MappingProxyType(
    {
        "idle_in_transaction_session_timeout": "30s",
        "tcp_keepalives_idle": "10",  # seconds
        "tcp_keepalives_interval": "5",  # seconds
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "30000",  # milliseconds
    }
)
"""The server's settings by which it lets go of what a vanished client held."""
_NOT_SETTLED = "SELECT name FROM pg_settings WHERE source = 'default' AND name = ANY(%s)"
# By a statement, as PgBouncer refuses such settings among the parameters of a connection.
_SETTLE = """\
SELECT set_config(name, value, false)
FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)"""

NOTICED: Mapping[str, int] = MappingProxyType(
    {
        "keepalives_idle": 10,  # seconds
        "keepalives_interval": 5,  # seconds
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds
    }
)
"""libpq's own: a vanished server is noticed, too, where an answer may take as long as it likes."""


def bound(engine: Engine) -> None:
    """Has each of the engine's connections be a bounded one."""
    server = AnsweringServer()

    def connect(_dialect: object, _record: object, arguments: Any, parameters: Any) -> Any:
        return server.connect(*arguments, **parameters)

    event.listen(engine, "do_connect", connect)


class AnsweringServer:
    """A server, and whether it answers."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._silent = False
        self._ask_again_at = 0.0
        self._to_settle: dict[str, str] | None = None

    def connect(self, *arguments: Any, **parameters: Any) -> "BoundedConnection":
        """As psycopg.connect does. Raises OperationalError."""
        wanted = {"connect_timeout": CONNECT_TIMEOUT, **NOTICED, **parameters}
        connection: BoundedConnection = self.asked(
            lambda: BoundedConnection.connect(*arguments, **wanted)
        )
        connection.server = self
        try:
            self._have_it_let_go(connection)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def _have_it_let_go(self, connection: "BoundedConnection") -> None:
        """Has the server let go of what this client holds, should it vanish."""
        before = connection.autocommit
        # Else it would be undone with the first transaction that is.
        connection.autocommit = True
        if self._to_settle is None:
            # Asked once: it takes longer than all the rest.
            found = connection.execute(_NOT_SETTLED, (list(LETS_GO),)).fetchall()
            self._to_settle = {name: LETS_GO[name] for (name,) in found}
        if wanted := self._to_settle:
            connection.execute(_SETTLE, (list(wanted), list(wanted.values())))
        connection.autocommit = before

    def asked(self, ask: Callable[[], Any]) -> Any:
        """What ``ask`` returns. Raises OperationalError at once while the server is silent."""
        self._refuse_if_silent()
        try:
            answer = ask()
        except psycopg.Error as error:
            # An error without a state is not of the server's making: it is gone, or silent.
            self._note(silent=isinstance(error, OperationalError) and error.sqlstate is None)
            raise
        self._note(silent=False)
        return answer

    def _note(self, *, silent: bool) -> None:
        if silent or self._silent:
            with self._lock:
                self._silent = silent
                self._ask_again_at = self._monotonic() + PAUSE

    def _refuse_if_silent(self) -> None:
        if not self._silent:
            return
        with self._lock:
            now = self._monotonic()
            if now < self._ask_again_at:
                raise OperationalError("the server did not answer just now")
            # This one asks; the others are refused until he has given up.
            self._ask_again_at = now + ANSWER_TIMEOUT + CONNECT_TIMEOUT + PAUSE


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is given up where its server is silent."""

    server: AnsweringServer | None = None
    answer_timeout: float | None = ANSWER_TIMEOUT
    """None: as long as it takes, for changes of the tables."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """psycopg's: every question goes through here."""
        if self.server is None or self.answer_timeout is None:
            return super().wait(gen, *arguments, **options)
        bounded = self._bounded(gen, self.answer_timeout)
        return self.server.asked(
            lambda: super(BoundedConnection, self).wait(bounded, *arguments, **options)
        )

    def _bounded(self, gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
        """The same, until nothing has come for so long; psycopg looks ten times a second."""
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    heard = now
                elif now - heard > seconds:
                    # SQLAlchemy drops what is closed.
                    self.close()
                    raise OperationalError("the server does not answer")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
