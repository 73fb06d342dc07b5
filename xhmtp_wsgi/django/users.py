"""Django's users as XHMTP sees them: bob of example.org's project is bob@example.org.

Log-in goes through Django's own authentication backends. A project whose addresses are made
otherwise names a class of its own in XHMTP_USERS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import authenticate, get_user_model
from django.db import close_old_connections

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

    def user_of(self, address: str) -> Any:
        """The user whose address it is; None if there is none, or if two could be meant."""
        model: Any = get_user_model()
        for name in (address, address.partition("@")[0]):
            found = list(
                model._default_manager.filter(**{f"{model.USERNAME_FIELD}__iexact": name})[:2]
            )
            if found:
                return found[0] if len(found) == 1 and found[0].is_active else None
        return None


@contextmanager
def _connections() -> Iterator[None]:
    """Django closes old connections where its own requests begin and end: these are not its own."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
