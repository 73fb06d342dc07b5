"""XHMTP in a Pyramid application: ``config.include("xhmtp_wsgi.pyramid")``.

The settings stand in the .ini file: ``xhmtp.config = %(here)s/xhmtp.toml``, or each by itself as
``xhmtp.database = ...`` and, for a domain, ``xhmtp.domain.example.org.prefix = ...``; to name it,
``xhmtp.domains = example.org`` is enough. Who is logged in is what the security policy says.
``request.xhmtp.submit(...)`` hands in a message, and a MessageArrived event tells of one that came.
docs/pyramid.md has the whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS
from webob import Request as PlainRequest

from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.arrival import Arrival
from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.middleware import XHMTP
from xhmtp_wsgi.settings import DomainSettings, Settings, table
from xhmtp_wsgi.site_users import SiteUsers
from xhmtp_wsgi.wing import Environ, StartResponse

TWEEN = "xhmtp_wsgi.pyramid.tween"
Handler: TypeAlias = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """The event for each notification that was taken."""

    arrival: Arrival


class PyramidUsers(SiteUsers):
    """The site's users as its security policy knows them.

    The policy tells who is logged in, whatever it looks at: a cookie, a token, Basic credentials.
    A site whose users are to be found before they first log in, or by a password, derives a class
    from this and names it in ``xhmtp.users``.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        """The policy's ``authenticated_userid``."""
        request = Request(dict(environ))
        request.registry = self.registry
        found = request.authenticated_userid
        return None if found is None else str(found)


def includeme(config: Configurator) -> None:
    """Adds XHMTP to a Pyramid application. Raises SettingsError."""
    registry = config.registry
    given = registry.settings
    settings = settings_of(given)
    kind = config.maybe_dotted(given.get("xhmtp.users", PyramidUsers))
    agent = make_agent(
        settings,
        users=kind(registry),
        on_arrival=lambda arrival: registry.notify(MessageArrived(arrival)),
    )
    registry["xhmtp"] = XHMTP(_nothing_else, settings, agent=agent)
    config.add_request_method(lambda request: request.registry["xhmtp"], "xhmtp", reify=True)
    # The outermost: no other tween, and no view, sees what is ours.
    config.add_tween(TWEEN, under=INGRESS)


def tween(handler: Handler, registry: Registry) -> Handler:
    """Answers what is below a prefix of ours; all else goes on as it came."""
    xhmtp: XHMTP = registry["xhmtp"]

    def answer(request: Request) -> Response:
        ours = xhmtp.below_prefix(request.environ)
        if ours is None:
            return handler(request)
        return PlainRequest(ours).get_response(xhmtp.wing)

    return answer


def settings_of(given: Mapping[str, Any]) -> Settings:
    """The settings of XHMTP among those of an .ini file. Raises SettingsError."""
    if "xhmtp.config" in given:
        return Settings.load(given["xhmtp.config"])
    domains: dict[str, dict[str, Any]] = {
        name: {} for name in str(given.get("xhmtp.domains", "")).replace(",", " ").split()
    }
    source: dict[str, Any] = {"domain": domains}
    of_domain = {row.name for row in table(DomainSettings)}
    for key, value in given.items():
        if not key.startswith("xhmtp.") or key in ("xhmtp.domains", "xhmtp.users"):
            continue
        name = key.removeprefix("xhmtp.")
        if name.startswith("domain."):
            domain, _, setting = name.removeprefix("domain.").rpartition(".")
            if setting not in of_domain:
                raise SettingsError(key, f"there is no such setting, only {', '.join(of_domain)}")
            domains.setdefault(domain, {})[setting] = value
        else:
            source[name] = value
    return Settings.load(source)


def _nothing_else(_environ: Environ, _start_response: StartResponse) -> list[bytes]:
    raise AssertionError("the tween passes on what is not below a prefix")
