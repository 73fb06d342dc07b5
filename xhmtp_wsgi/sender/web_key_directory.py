"""The Web Key Directory: ``gpg --locate-keys bob@B`` finds there which OpenPGP key bob publishes.

It stands at ``/.well-known/openpgpkey/``, outside of every prefix, and so in the site's own room:
it is there only for the domains whose setting ``web_key_directory`` is on. Where none has it,
nothing is put around the site. Which domain is meant, the Host of the request tells: DOMAIN itself,
or ``openpgpkey.DOMAIN`` with the domain in the path as well (protocol/web_key.py).

Security: whoever guesses an address learns whether it has a key: a directory is for that. What goes
wrong ends here and never reaches the site.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias
from urllib.parse import parse_qs

from webob import Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedAddress, MethodNotAllowed, NotFound, XHMTPError
from xhmtp_wsgi.protocol.endpoint import MAX_LOCAL, Endpoint
from xhmtp_wsgi.protocol.openpgp_key import OpenPGPKey
from xhmtp_wsgi.protocol.web_key import ADVANCED, ROOT, WebKeyPath, hashed
from xhmtp_wsgi.responses import internal_problem, problem, response
from xhmtp_wsgi.sender import openpgp_keys
from xhmtp_wsgi.wing import Environ, StartResponse

logger = logging.getLogger(__name__)

Site: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

MAX_QUERY = 1024  # octets
FOR_EVERYBODY = {
    # A program in any page may look, as any other program may.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class WebKeyDirectory:
    """The directory of the domains that have one."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._domains = frozenset(
            name for name, domain in agent.settings.domains.items() if domain.web_key_directory
        )

    def before(self, site: Site) -> Site:
        """The site with the directory in front of it; the site itself where no domain has one."""
        if not self._domains:
            return site

        def directory_or_site(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            answer = self.answer(environ)
            if answer is None:
                return site(environ, start_response)
            found: Iterable[bytes] = answer(environ, start_response)
            return found

        return directory_or_site

    def answer(self, environ: Environ) -> Response | None:
        """What the directory answers; None where the request is the site's."""
        if not self._domains:
            return None
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if not path.startswith(ROOT):
            return None
        host = _host(environ)
        domain = host.removeprefix(ADVANCED)
        if host in self._domains:
            domain = host
        elif domain == host or domain not in self._domains:
            return None
        try:
            return self._found(environ, WebKeyPath.parse(path), domain, advanced=domain != host)
        except XHMTPError as error:
            answer = problem(error)
            answer.headers.update(FOR_EVERYBODY)
            return answer
        except Exception:
            # The last resort, as in wing.py.
            logger.exception("a request for an OpenPGP key failed")
            return internal_problem()

    def _found(
        self, environ: Environ, asked: WebKeyPath | None, domain: str, *, advanced: bool
    ) -> Response:
        if asked is None or asked.domain != (domain if advanced else None):
            raise NotFound("there is no such OpenPGP key")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(environ["REQUEST_METHOD"][:20], ("GET", "HEAD"))
        if asked.hash is None:
            # Empty: none of the things that a policy can say is so here.
            return response(200, b"", "text/plain; charset=utf-8", FOR_EVERYBODY)
        key = self._key(domain, asked.hash, environ.get("QUERY_STRING", ""))
        if key is None:
            raise NotFound("there is no such OpenPGP key")
        return response(200, key.octets, "application/octet-stream", FOR_EVERYBODY)

    def _key(self, domain: str, wanted: str, query: str) -> OpenPGPKey | None:
        database = self._agent.database
        owner = _named(domain, wanted, query)
        if owner is None:
            owner = openpgp_keys.owner_of_hash(database, domain, wanted)
        # A user of the site's may be gone without anybody having told us.
        if owner is None or self._agent.accounts.find(owner) is None:
            return None
        return openpgp_keys.get(database, owner)


def _host(environ: Environ) -> str:
    """The name in the Host field: in lower case, without a port or a final dot."""
    host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
    return str(host).partition(":")[0].removesuffix(".").lower()


def _named(domain: str, wanted: str, query: str) -> Endpoint | None:
    """The address that ``?l=`` names, where it is the hash's: it spares the search for that."""
    if len(query) > MAX_QUERY:
        return None
    local = parse_qs(query).get("l", [""])[0]
    if len(local) > MAX_LOCAL:
        return None
    try:
        endpoint = Endpoint.parse(f"{local}@{domain}")
    except MalformedAddress:
        return None
    return endpoint.canonical if hashed(endpoint.local) == wanted else None
