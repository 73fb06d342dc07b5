"""``PREFIX/selftest``: how a request arrives here, told to `xhmtp check` and to nobody else.

A web server or proxy can drop Authorization, decode a path, hide the client's address, or run us
in an interpreter that cannot verify signatures; from outside one only sees that things fail. So the
check writes an invitation into the database, sends requests that bear it, and reads here what came
through. Who has no invitation is answered 404, as for any other path that is none.

Security: an invitation is random, kept as a hash, good for a minute or two. The report names no
secret: settings are told as keyed hashes, to be compared.
"""

import hashlib
import hmac
import os
import pwd
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Double, LargeBinary, Table, delete, insert, update
from webob import Request, Response

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.client_address import client_address
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import NotFound, XHMTPError
from xhmtp_wsgi.protocol.access_code import hash_code, new_code
from xhmtp_wsgi.protocol.basic_authentication import parse_authorization
from xhmtp_wsgi.request_body import whole_body
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.routes import SelfTestRoute
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.settings import Settings, table

HEADER = "XHMTP-Self-Test"
USER = "selftest"
"""The user name of the Basic credentials that must arrive; the password is the invitation."""
GOOD_FOR = 120.0  # seconds
MAX_BODY = 64 << 10  # octets

invitations = Table(
    "self_test",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
)


def invite(database: Database, now: float) -> str:
    """Makes an invitation, and takes away those that have expired."""
    invitation = new_code()
    with database.transaction() as connection:
        connection.execute(delete(invitations).where(invitations.c.expires_at < now))
        connection.execute(
            insert(invitations).values(hash=hash_code(invitation), expires_at=now + GOOD_FOR)
        )
    return invitation


def take_back(database: Database, invitation: str) -> None:
    """Ends an invitation."""
    with database.transaction() as connection:
        connection.execute(delete(invitations).where(invitations.c.hash == hash_code(invitation)))


def settings_hashes(settings: Settings, invitation: str) -> dict[str, str]:
    """Each setting as a hash keyed by the invitation: to be compared, and not to be read."""
    values = {row.name: getattr(settings, row.name) for row in table(Settings)}
    values["domain"] = sorted(settings.domains.items())
    return {
        name: hmac.new(invitation.encode(), repr(value).encode(), hashlib.sha256).hexdigest()[:16]
        for name, value in values.items()
    }


def report(agent: Agent, request: Request, route: SelfTestRoute) -> Response:
    """``GET`` or ``POST /PREFIX/selftest``: how the request arrived, as JSON."""
    invitation = request.environ.get(f"HTTP_{HEADER.upper().replace('-', '_')}", "")
    if not _is_used(agent, invitation):
        raise NotFound("there is no such resource")
    environ = request.environ
    address = client_address(request, agent.settings.trusted_proxies)
    octets, body_problem = _body(request)
    return json_response(
        200,
        {
            "version": __version__,
            "server": str(environ.get("SERVER_SOFTWARE", "")),
            "scheme": environ["wsgi.url_scheme"],
            "address": route.address,
            "authorization": _authorization(environ, invitation),
            "remote-address": environ.get("REMOTE_ADDR", ""),
            "forwarded-for": environ.get("HTTP_X_FORWARDED_FOR"),
            "client-address": None if address is None else str(address),
            "body-octets": octets,
            "body-problem": body_problem,
            "process-group": environ.get("mod_wsgi.process_group"),
            "application-group": environ.get("mod_wsgi.application_group"),
            "signatures": _cryptography_problem(),
            "opened-before-fork": agent.database.opened_before_fork,
            "spool-problem": _spool_problem(agent.settings.spool),
            "user": _user(),
            "python": sys.version.split()[0],
            "time": agent.clock(),
            "settings": settings_hashes(agent.settings, invitation),
        },
    )


def _is_used(agent: Agent, invitation: str) -> bool:
    """Notes that it was used: the agent must be able to write, here, where requests are served."""
    if not invitation:
        return False
    now = agent.clock()
    with agent.database.transaction() as connection:
        found = connection.execute(
            update(invitations)
            .where(invitations.c.hash == hash_code(invitation), invitations.c.expires_at > now)
            .values(used_at=now)
        )
    return bool(found.rowcount)


def _authorization(environ: Mapping[str, Any], invitation: str) -> str:
    given = environ.get("HTTP_AUTHORIZATION")
    if given is None:
        return "missing"
    credentials = parse_authorization(given)
    right = credentials is not None and (credentials.user, credentials.password) == (
        USER,
        invitation,
    )
    return "arrived" if right else "changed"


def _body(request: Request) -> tuple[int, str | None]:
    try:
        return len(whole_body(request, MAX_BODY, "a self-test")), None
    except XHMTPError as error:
        return 0, str(error)


def _cryptography_problem() -> str | None:
    """Why this interpreter cannot verify a signature; None if it can."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        return str(error)
    ed25519.Ed25519PrivateKey.generate().sign(b"")
    return None


def _spool_problem(directory: str) -> str | None:
    """Why an upload could not be spooled; None if it could."""
    try:
        with tempfile.TemporaryFile(dir=directory or None) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        return f"{directory or tempfile.gettempdir()}: {error.strerror}"
    return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
