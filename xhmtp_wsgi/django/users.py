"""Django's users as XHMTP sees them: bob of example.org's project is bob@example.org.

Log-in goes through Django's own authentication backends, or its session. A project whose addresses
are made otherwise names a class of its own in XHMTP_USERS.

Security: an address is one user's. Where "bob" and "bob@example.org", or "Bob", are two users, the
address is neither's: whoever came second would else read what is meant for the first.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import authenticate, get_user, get_user_model
from django.db import close_old_connections
from django.db.models import Q
from django.http import HttpRequest, parse_cookie

from xhmtp_wsgi.site_users import SiteUsers


class DjangoUsers(SiteUsers):
    """Active users; the user name is the address, or the part of it before the @."""

    def exists(self, address: str) -> bool | None:
        """Is there one active user of that name?"""
        with _connections():
            return self.user_of(address) is not None

    def check_password(self, address: str, password: str) -> bool:
        """Does one of Django's backends take it, for just that user?"""
        with _connections():
            user = self.user_of(address)
            name = "" if user is None else user.get_username()
            # Also asked for nobody: that takes as long.
            found = authenticate(None, username=name, password=password)
            return found is not None and user is not None and found.pk == user.pk

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        """The address of whom Django's session has logged in."""
        key = parse_cookie(environ.get("HTTP_COOKIE", "")).get(settings.SESSION_COOKIE_NAME)
        if not key or not apps.is_installed("django.contrib.sessions"):
            return None
        store = import_module(settings.SESSION_ENGINE).SessionStore(key)
        request = HttpRequest()
        with _connections():
            request.session = _ReadSession(store.load())
            user = get_user(request)
            return self._address_of(user) if user.is_authenticated else None

    def addresses_of(self, user: Any) -> list[str]:
        """What may be a user's address, in lower case: ``user_of`` says whether it is."""
        from xhmtp_wsgi.django import the_agent

        name = user.get_username().lower()
        return [name] if "@" in name else [f"{name}@{one}" for one in the_agent().settings.domains]

    def _address_of(self, user: Any) -> str | None:
        found = [(one, self.user_of(one)) for one in self.addresses_of(user)]
        his = [address for address, other in found if other is not None and other.pk == user.pk]
        return his[0] if len(his) == 1 else None

    def user_of(self, address: str) -> Any:
        """The user whose address it is; None if there is none, or if two could be meant."""
        model: Any = get_user_model()
        named = Q(**{f"{model.USERNAME_FIELD}__iexact": address})
        named |= Q(**{f"{model.USERNAME_FIELD}__iexact": address.partition("@")[0]})
        found = list(model._default_manager.filter(named)[:2])
        return found[0] if len(found) == 1 and found[0].is_active else None


class _ReadSession(dict[str, Any]):
    """A session that is looked at only: our answer could not give the browser a new cookie."""

    def cycle_key(self) -> None:
        """Django wants this where its secret has changed: the site's next page does it."""

    def flush(self) -> None:
        """Django wants this where the user's password has changed: likewise."""


@contextmanager
def _connections() -> Iterator[None]:
    """Django closes old connections where its own requests begin and end: these are not its own."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
