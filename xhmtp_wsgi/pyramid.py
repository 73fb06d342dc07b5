"""XHMTP in a Pyramid application: ``config.include("xhmtp_wsgi.pyramid")``.

The settings stand in the .ini file: ``xhmtp.config = %(here)s/xhmtp.toml``, or each by itself as
``xhmtp.database = ...`` and, for a domain, ``xhmtp.domain.example.org.prefix = ...``; to name it,
``xhmtp.domains = example.org`` is enough. Who is logged in is what the security policy says.
``request.xhmtp.submit(...)`` hands in a message, and a MessageArrived event tells of one that came.
docs/pyramid.md has the whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.interfaces import IRequestFactory
from pyramid.registry import Registry
from pyramid.request import Request, apply_request_extensions
from pyramid.threadlocal import RequestContext
from zope.interface import providedBy  # type: ignore[import-untyped]

from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.arrival import Arrival, tell_each
from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.middleware import XHMTP, WSGIApplication
from xhmtp_wsgi.settings import DomainSettings, Settings, table
from xhmtp_wsgi.site_users import SiteUsers, one_users_name, without_body
from xhmtp_wsgi.wing import Environ, StartResponse


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
        """The policy's ``authenticated_userid``; one with capitals is taken for nobody's.

        The policy is asked as within a view: with the application's own kind of request and what
        it has added to it, but without the body, and with no route or context.
        """
        make = self.registry.queryUtility(IRequestFactory, default=Request)
        request = make(without_body(environ))
        request.registry = self.registry
        with RequestContext(request):
            apply_request_extensions(request)
            try:
                return one_users_name(request.authenticated_userid)
            finally:
                # Pyramid's router does so, and pyramid.scripting: a database session ends here.
                request._process_finished_callbacks()


def includeme(config: Configurator) -> None:
    """Adds XHMTP to a Pyramid application. Raises SettingsError."""
    registry = config.registry
    given = registry.settings
    settings = settings_of(given)
    kind = config.maybe_dotted(given.get("xhmtp.users", PyramidUsers))

    def heard(arrival: Arrival) -> None:
        # As registry.notify does, but one subscriber that fails keeps no other from hearing.
        event = MessageArrived(arrival)
        subscribers = registry.adapters.subscriptions([providedBy(event)], None)
        tell_each(arrival, [partial(one, event) for one in subscribers])

    agent = make_agent(settings, users=kind(registry), on_arrival=heard)
    registry["xhmtp"] = xhmtp = XHMTP(_nothing_else, settings, agent=agent)
    config.add_request_method(lambda request: request.registry["xhmtp"], "xhmtp", reify=True)
    config.add_subscriber(lambda event: _put_around(xhmtp, event.app), ApplicationCreated)


def _put_around(xhmtp: XHMTP, router: Any) -> None:
    """Answers what is below a prefix of ours before the application makes a request of it.

    Pyramid's execution policy is the outermost thing of an application's: no tween sees what is
    ours, wherever it stands, and nothing of WebOb's changes our answer. It is taken when all else
    is configured, so that one that the application sets (pyramid_retry does) goes on working.
    """
    policy = router.execution_policy

    def execute(environ: Environ, router: Any) -> WSGIApplication:
        ours = xhmtp.below_prefix(environ)
        if ours is None:
            answer: WSGIApplication = xhmtp.key_directory.answer(environ) or policy(environ, router)
            return answer
        return lambda _environ, start_response: xhmtp.wing(ours, start_response)

    router.execution_policy = execute


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
    raise AssertionError("the application answers what is not below a prefix")
