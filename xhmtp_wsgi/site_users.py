"""The site's own users and log-in: what a site tells of them, and how XHMTP asks.

A site derives a class from SiteUsers, or takes one that is here: users of an htpasswd file, or
those that the web server has logged in already (REMOTE_USER). A user's address is his name in the
site at the agent's domain, so bob of b.example's site is bob@b.example.

Security: what is here is asked beside the passwords that ``xhmtp user`` keeps, never in place of a
check; and REMOTE_USER is the server's word, which no header of a client's can set.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class SiteUsers:
    """The users of a site. Each method may be asked by several threads at once.

    ``address``: of one of the agent's own domains, in lower case: ``bob@b.example``.
    """

    def exists(self, address: str) -> bool | None:
        """Has the site such a user? None: it cannot tell; then whoever has an account is one."""
        return None

    def check_password(self, address: str, password: str) -> bool:
        """Is that his password in the site?"""
        return False

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        """Who the site has logged in, by means of its own: his address, or the part before the @.

        ``environ``: the request as WSGI has it. A session's cookie, say.
        """
        return None


class RemoteUser(SiteUsers):
    """Whoever the web server, or a WSGI middleware around us, has logged in (REMOTE_USER)."""

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        """The server's REMOTE_USER."""
        return environ.get("REMOTE_USER") or None


class HtpasswdUsers(SiteUsers):
    """The users of a file as Apache's ``htpasswd`` makes it; read anew when it has changed.

    A user is found by his whole address, or by the part before the @. Hashes are those that
    libpass knows: bcrypt, SHA-2, apr1.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """``path``: read when first asked for."""
        self._path = Path(path)
        self._read: tuple[tuple[int, int], Any] | None = None

    def exists(self, address: str) -> bool | None:
        """Is there such a line?"""
        file = self._file()
        return None if file is None else any(file.get_hash(name) for name in _names(address))

    def check_password(self, address: str, password: str) -> bool:
        """Does the line's hash fit?"""
        file = self._file()
        if file is None or "\0" in password:
            return False
        for name in _names(address):
            if file.get_hash(name):
                return bool(file.check_password(name, password))
        return False

    def _file(self) -> Any:
        """The file as libpass reads it; None where it cannot be read."""
        from passlib.apache import HtpasswdFile

        try:
            status = self._path.stat()
            version = status.st_mtime_ns, status.st_ino
            if self._read is None or self._read[0] != version:
                self._read = version, HtpasswdFile(str(self._path), encoding="utf-8")
        except (OSError, ValueError) as error:
            logger.error("%s cannot be used: %s", self._path, type(error).__name__)
            return None
        return self._read[1]


class SeveralUsers(SiteUsers):
    """Several of them, asked in turn."""

    def __init__(self, members: Sequence[SiteUsers]) -> None:
        self._members = members

    def exists(self, address: str) -> bool | None:
        """True if one knows him; else None if one cannot tell."""
        answers = [member.exists(address) for member in self._members]
        if any(answers):
            return True
        return None if None in answers else False

    def check_password(self, address: str, password: str) -> bool:
        """Does one of them take it?"""
        return any(member.check_password(address, password) for member in self._members)

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        """The first that one of them tells."""
        found = (member.logged_in(environ) for member in self._members)
        return next((name for name in found if name), None)


def _names(address: str) -> tuple[str, str]:
    return address, address.partition("@")[0]
