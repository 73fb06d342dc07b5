"""The site's own users and log-in: what a site tells of them, and how XHMTP asks.

A site derives a class from SiteUsers, or takes one that is here: users of an htpasswd file, or
those that the web server has logged in already (REMOTE_USER). A user's address is his name in the
site at the agent's domain, so bob of b.example's site is bob@b.example.

Security: what is here is asked beside the passwords that ``xhmtp user`` keeps, never in place of a
check; and REMOTE_USER is the server's word, which no header of a client's can set. Where two users
of a site differ in capitals alone, or one is named like another's address, one would read the
other's messages: see ``one_users_name``.
"""

import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

BCRYPT_READS = 72  # octets of a password: whatever comes after them, htpasswd and Apache ignore


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

        ``environ``: the request as WSGI has it. A session's cookie, say. Whom it names must be he
        whom ``exists`` and ``check_password`` mean by that address.
        """
        return None


def without_body(environ: Mapping[str, Any]) -> dict[str, Any]:
    """The request as a site's log-in may see it: a copy, whose body is empty.

    What looks for a token in a form would else eat the message that is handed in.
    """
    return {**environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}


def one_users_name(name: object) -> str | None:
    """What a site calls a user, if it can mean no other; None for nobody, or where it could.

    Addresses are in lower case, and names of a site need not be: if it has a Bob, he is not bob.
    A site that means one user by both tells his name in lower case.
    """
    if name is None:
        return None
    given = str(name)
    if given == given.lower():
        return given
    logger.warning("the site has logged in %r: with capitals that is nobody's address", given[:80])
    return None


class RemoteUser(SiteUsers):
    """Whoever the web server, or a WSGI middleware around us, has logged in (REMOTE_USER)."""

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        """The server's REMOTE_USER."""
        return environ.get("REMOTE_USER") or None


class HtpasswdUsers(SiteUsers):
    """The users of a file as Apache's ``htpasswd`` makes it; read anew when it has changed.

    A user is found by his whole address, or by the part before the @. Hashes are bcrypt, SHA-2 and
    apr1; any other, a password in clear above all, opens nothing.
    """

    SCHEMES = ("bcrypt", "sha256_crypt", "sha512_crypt", "apr_md5_crypt")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """``path``: read when first asked for."""
        self._path = Path(path)
        self._read: tuple[tuple[int, int, int], Any] | None = None

    def exists(self, address: str) -> bool | None:
        """Is there such a line?"""
        file = self._file()
        return None if file is None else _line_of(file, address) is not None

    def check_password(self, address: str, password: str) -> bool:
        """Does the line's hash fit? For nobody it takes as long, and does not."""
        file = self._file()
        if file is None:
            return False
        name = _line_of(file, address)
        asked = name or next(iter(file.users()), "")
        secret = password.encode("utf-8", "surrogatepass")
        if (file.get_hash(asked) or b"").startswith(b"$2"):
            secret = secret[:BCRYPT_READS]
        try:
            right = file.check_password(asked, secret)
        except ValueError:
            # A NUL in the password, or a line whose hash is none of those.
            return False
        return name is not None and bool(right)

    def _file(self) -> Any:
        """The file as libpass reads it; None where it cannot be read."""
        from passlib.apache import HtpasswdFile
        from passlib.context import CryptContext

        try:
            status = self._path.stat()
            version = status.st_mtime_ns, status.st_size, status.st_ino
            if self._read is None or self._read[0] != version:
                # libpass's own choice has "plaintext": whoever stole a hash could log in with it.
                known = CryptContext(schemes=self.SCHEMES)
                # Addresses are ASCII; names of other users may be in any encoding.
                file = HtpasswdFile(str(self._path), encoding="latin-1", context=known)
                self._read = version, file
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


def _line_of(file: Any, address: str) -> str | None:
    """The user whose line is meant; None if there is none."""
    names = (address, address.partition("@")[0])
    return next((name for name in names if file.get_hash(name)), None)
