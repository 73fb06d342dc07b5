"""``settings/password``: a new password, for whoever has one of ours.

Keys that the agent holds for him are sealed with the new one, if the old one opens them.

Security: who is logged in must know the old one as well, and every other session ends.
"""

from sqlalchemy import select
from webob import Response

from xhmtp_wsgi.accounts import accounts
from xhmtp_wsgi.errors import Forbidden, NotAuthenticated
from xhmtp_wsgi.login_guard import guarded
from xhmtp_wsgi.passwords import MAX_PASSWORD
from xhmtp_wsgi.recipient import held_keys
from xhmtp_wsgi.web import login
from xhmtp_wsgi.web.visit import Means, Visit

SHORTEST = 8  # characters


def shown(visit: Visit) -> Response:
    """The form, or whose the password is."""
    return _page(visit)


def changed(visit: Visit) -> Response:
    """Changes it, and begins a new session in place of all there were."""
    if not has_password(visit):
        raise Forbidden("your password is the site's, and is changed there")
    form = visit.form()
    old, new = form.text("old"), form.text("new")
    if len(new) < SHORTEST or len(new) > MAX_PASSWORD:
        return _page(visit, new=f"A password has {SHORTEST} to {MAX_PASSWORD} characters.")
    if new != form.text("again"):
        return _page(visit, again="That is not the same as above.")
    accounts_here = visit.agent.accounts
    try:
        guarded(
            visit.agent,
            visit.request,
            str(visit.owner),
            lambda: accounts_here.authenticate(visit.owner, old),
        )
    except NotAuthenticated:
        return _page(visit, old="That is not your password.")
    # First the keys, and all or none of them: the old password still opens what is left.
    held_keys.change_password(visit.database, visit.owner, old, new)
    accounts_here.set_password(visit.owner, new)
    sessions = login.sessions_of(visit.agent)
    sessions.end_all(visit.account)
    answer = visit.redirect("settings", note="password-changed")
    if visit.means is Means.SESSION:
        secret = sessions.begin(visit.account)
        login.set_cookie(answer, visit.agent, visit.request, visit.owner, visit.prefix, secret)
    return answer


def has_password(visit: Visit) -> bool:
    """Has he a password of ours, and not only the site's log-in?"""
    with visit.database.reading() as connection:
        found = connection.execute(
            select(accounts.c.password_hash).where(accounts.c.id == visit.account.id)
        ).scalar()
    return found is not None


def _page(visit: Visit, **wrong: str) -> Response:
    """``wrong``: what is wrong, by field."""
    return visit.page(
        "settings_password.html",
        status=400 if wrong else 200,
        has_password=has_password(visit),
        shortest=SHORTEST,
        wrong={"old": "", "new": "", "again": "", **wrong},
    )
