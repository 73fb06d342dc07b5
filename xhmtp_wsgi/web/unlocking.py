"""``unlock``: the keys that his agent holds for him are opened by his password, and locked again.

They stay open in this session alone, until it ends, he logs out or locks them. Who is logged in by
the site, or by Basic credentials, gets a session of ours for that, which logs nobody in.

Security: wrong passwords are counted as failed log-ins are. The agent has his keys in its memory
while it opens something, and in the database only in boxes that the session's secret opens.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from webob import Response

from xhmtp_wsgi.errors import NotAuthenticated, NotFound, TooMany
from xhmtp_wsgi.login_guard import guarded
from xhmtp_wsgi.recipient import held_keys
from xhmtp_wsgi.web import doors, login
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.visit import Means, Visit

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity

UNLOCK = "unlock"
WRONG = "That password opens none of your keys. Please try again."
TOO_MANY = "There were too many tries. Please wait a quarter of an hour."
MOST_FORM = 16 << 10  # octets


def shown(visit: Visit) -> Response:
    """``GET unlock?to=``: the form; ``to``: where it leads, a path among his pages."""
    return _page(visit)


def changed(visit: Visit) -> Response:
    """``POST unlock?to=``: unlocks, or locks by the button ``do``."""
    if visit.form().text("do") == "lock":
        lock(visit)
        return _answer(visit, "locked")
    try:
        identities = _opened(visit, visit.form().text("password"))
    except NotAuthenticated:
        return _page(visit, 400, WRONG)
    except TooMany as error:
        answer = _page(visit, 429, TOO_MANY)
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after or 60.0))
        return answer
    answer = _answer(visit, "unlocked")
    keep_unlocked(visit, answer, identities)
    return answer


PAGES: Mapping[str, Page] = {UNLOCK: Page(get=shown, post=changed, most=MOST_FORM)}


def keep_unlocked(visit: Visit, answer: Response, identities: "Sequence[Identity]") -> None:
    """Keeps these keys open for his next visits, which ``answer`` may need a cookie for."""
    sessions = login.sessions_of(visit.agent)
    octets = "\n".join(identity.text() for identity in identities).encode("ascii")
    if visit.means is Means.SESSION and visit.keeper is not None:
        sessions.keep_unlocked(visit.keeper, visit.account, octets)
        return
    lock(visit)
    secret = sessions.begin_beside(visit.account)
    sessions.keep_unlocked(secret, visit.account, octets)
    login.set_keeper_cookie(answer, visit.agent, visit.request, visit.owner, visit.prefix, secret)


def lock(visit: Visit) -> None:
    """Locks his keys in this session."""
    if visit.keeper is not None:
        login.sessions_of(visit.agent).lock(visit.keeper)


def _opened(visit: Visit, password: str) -> "tuple[Identity, ...]":
    """Raises NotAuthenticated, TooMany, or NotFound where no key is held."""
    if not held_keys.has_any(visit.database, visit.owner):
        raise NotFound("none of your keys is held here")
    return guarded(
        visit.agent,
        visit.request,
        str(visit.owner),
        lambda: held_keys.unlock(visit.database, visit.owner, password),
    )


def _answer(visit: Visit, note: str) -> Response:
    path = _way(visit)
    if path[0] == UNLOCK:
        path = ("inbox",)
    return visit.redirect(*path, note=note)


def _way(visit: Visit) -> tuple[str, ...]:
    """Where it leads, as far as that is a page of his."""
    return doors.segments(visit.query("to")) or ("inbox",)


def _page(visit: Visit, status: int = 200, wrong: str = "") -> Response:
    return visit.page(
        "unlock.html",
        status,
        action=visit.url(UNLOCK) + doors.way_back(_way(visit)),
        is_held=held_keys.has_any(visit.database, visit.owner),
        wrong=wrong,
    )
