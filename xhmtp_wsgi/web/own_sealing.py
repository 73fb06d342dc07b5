"""``settings/sealing``: keys that his agent opens sealed messages with, and what he seals himself.

He makes a key here, or gives one that he has; with his password, which opens it and nothing else
does. A key that is made is shown once, for him to keep a copy, and its public half is published.

Security: no secret key is shown again, and none that was typed stands in a page. To take a key back
takes no password: whoever is logged in could only destroy what can be given again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from webob import Response

from xhmtp_wsgi import preferences
from xhmtp_wsgi.errors import (
    Duplicate,
    Forbidden,
    Malformed,
    MalformedKey,
    MixedKeys,
    NotAuthenticated,
    TooMany,
    XHMTPError,
)
from xhmtp_wsgi.login_guard import guarded
from xhmtp_wsgi.passwords import MAX_PASSWORD
from xhmtp_wsgi.protocol.published_keys import fingerprint
from xhmtp_wsgi.protocol.sealing import HYBRID, Identity, is_sealed, parse_identities
from xhmtp_wsgi.recipient import held_keys, sealed_extracts
from xhmtp_wsgi.sender import sealing_keys
from xhmtp_wsgi.sender.sealing import PREFERENCE, SUBJECT_PREFERENCE, Policy
from xhmtp_wsgi.web import login, unlocking
from xhmtp_wsgi.web.own_password import SHORTEST, has_password
from xhmtp_wsgi.web.sealing_words import WORDS
from xhmtp_wsgi.web.visit import Visit

OUTSIDE = "outside"
"""The preference of whoever wants subjects to be seen."""
PATH = ("settings", "sealing")


@dataclass(frozen=True, slots=True)
class _Wrong(Exception):
    """What is wrong with the form, and at which of its fields."""

    field: str
    words: str


@dataclass(frozen=True, slots=True)
class _Given:
    """Keys that were handed in, or made."""

    identities: Sequence[Identity] = field(repr=False)
    made: bool


def shown(visit: Visit) -> Response:
    """The keys that are held, the form for another, and the choices."""
    return _page(visit)


def changed(visit: Visit) -> Response:
    """By the button ``do``: makes or gives a key, takes one back, or notes the choices."""
    form = visit.form()
    match form.text("do"):
        case "make" | "give":
            return _given(visit)
        case "take-back":
            return _taken_back(visit, form.text("key"))
        case "choose":
            return _chosen(visit)
    raise Malformed("there is no such change")


def _given(visit: Visit) -> Response:
    button = visit.form().text("do")
    try:
        given = _made(visit) if button == "make" else _handed_in(visit)
        password = _password(visit)
        _hold(visit, given, password)
    except _Wrong as wrong:
        return _page(visit, button, {wrong.field: wrong.words})
    except TooMany:
        return _page(visit, button, {"password": unlocking.TOO_MANY})
    answer = (
        _page(visit, made=given.identities[0])
        if given.made
        else visit.redirect(*PATH, note="key-given")
    )
    unlocking.keep_unlocked(visit, answer, [*visit.identities, *given.identities])
    return answer


def _made(visit: Visit) -> _Given:
    post_quantum = visit.form().text("kind") == HYBRID
    return _Given([Identity.generate(post_quantum=post_quantum)], made=True)


def _handed_in(visit: Visit) -> _Given:
    form = visit.form()
    files = [upload.octets for upload in form.files("file")]
    octets = next(iter(files), form.text("identity").encode("utf-8", "replace"))
    if is_sealed(octets[:200]):
        raise _Wrong("identity", "This file is sealed with a passphrase itself: open it first.")
    try:
        identities = parse_identities(octets.decode("utf-8", "replace"))
    except MalformedKey:
        raise _Wrong(
            "identity", "That is no secret key of age. It begins with AGE-SECRET-KEY-."
        ) from None
    if len(identities) != 1:
        raise _Wrong("identity", "Give one secret key, which begins with AGE-SECRET-KEY-.")
    return _Given(identities, made=False)


def _password(visit: Visit) -> str:
    """The password that will open the key: his own here, or for whom the site logs in a new one."""
    form = visit.form()
    password = form.text("password")
    if not has_password(visit):
        if not SHORTEST <= len(password) <= MAX_PASSWORD:
            raise _Wrong("password", f"A password has {SHORTEST} to {MAX_PASSWORD} characters.")
        if password != form.text("again"):
            raise _Wrong("again", "That is not the same as above.")
        return password
    try:
        guarded(
            visit.agent,
            visit.request,
            str(visit.owner),
            lambda: visit.agent.accounts.authenticate(visit.owner, password),
        )
    except NotAuthenticated:
        raise _Wrong("password", "That is not your password.") from None
    return password


def _hold(visit: Visit, given: _Given, password: str) -> None:
    """Holds the key and publishes its public half; both, or neither."""
    database, owner, now = visit.database, visit.owner, visit.agent.clock()
    recipients = [identity.recipient for identity in given.identities]
    replace = visit.form().text("replace") == "yes"
    published = sealing_keys.recipients_of(database, owner)
    wanted = given.made or visit.form().text("publish") == "yes"
    if wanted and not replace and any(one.kind != recipients[0].kind for one in published):
        raise _Wrong(
            "replace",
            "The keys that you publish are of the other kind, and all must be of one: have this "
            "one published in their place, or choose the other kind.",
        )
    for identity in given.identities:
        try:
            held_keys.give(database, owner, identity, password, now)
        except (Duplicate, Forbidden) as error:
            raise _Wrong("identity", f"That is not done: {error}.") from None
    if not wanted:
        return
    try:
        sealing_keys.publish(database, owner, recipients, now, replace=replace)
    except Duplicate:
        # He gives the secret half of one that he publishes.
        pass
    except XHMTPError as error:
        for recipient in recipients:
            held_keys.take_back(database, owner, str(recipient))
        if isinstance(error, Forbidden | MixedKeys):
            raise _Wrong("replace", f"That is not done: {error}.") from None
        raise


def _taken_back(visit: Visit, recipient: str) -> Response:
    """Holds it no more: nor what was remembered of messages, which it may have opened."""
    held_keys.take_back(visit.database, visit.owner, recipient)
    sealed_extracts.forget(visit.database, visit.owner)
    login.sessions_of(visit.agent).lock_all(visit.account)
    return visit.redirect(*PATH, note="key-taken-back")


def _chosen(visit: Visit) -> Response:
    form = visit.form()
    policy, subject = form.text("seal"), form.text("subject")
    if policy not in ("", *Policy) or subject not in ("", OUTSIDE):
        raise Malformed("there is no such choice")
    preferences.put(visit.database, visit.owner, PREFERENCE, policy)
    preferences.put(visit.database, visit.owner, SUBJECT_PREFERENCE, subject)
    return visit.redirect(*PATH, note="saved")


def _page(
    visit: Visit,
    button: str = "",
    wrong: Mapping[str, str] | None = None,
    made: Identity | None = None,
) -> Response:
    """``button``: that of the form in which something is wrong; ``wrong``: what, by field."""
    database, owner = visit.database, visit.owner
    published = sealing_keys.recipients_of(database, owner)
    return visit.page(
        "settings_sealing.html",
        status=400 if wrong else 200,
        held=[
            (str(one.recipient), fingerprint(one.recipient), one.added_at)
            for one in held_keys.listed(database, owner)
        ],
        most_held=held_keys.MOST_HELD,
        published=[str(one) for one in published],
        hybrid=HYBRID,
        button=button,
        wrong={"password": "", "again": "", "identity": "", "replace": "", **(wrong or {})},
        has_password=has_password(visit),
        shortest=SHORTEST,
        made=_as_file(made, visit) if made else "",
        policies=WORDS,
        demanded=visit.agent.settings.domains[owner.domain].seal,
        seal=preferences.get(database, owner, PREFERENCE, ""),
        subject=preferences.get(database, owner, SUBJECT_PREFERENCE, ""),
        action=visit.url(unlocking.UNLOCK, to="/".join(PATH)),
    )


def _as_file(identity: Identity, visit: Visit) -> str:
    """The key as a file that age reads; the secret first, so that none overlooks it."""
    made = datetime.fromtimestamp(visit.agent.clock(), UTC).isoformat(timespec="seconds")
    return f"{identity.text()}\n# created: {made}\n# public key: {identity.recipient}\n"
