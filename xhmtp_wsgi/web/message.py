"""``message/ID``: a message that came, its parts and its source, and what its owner does with it.

A message is fetched when its owner opens it, which is a GET, as people follow links. So that
nothing is fetched without a person: not for HEAD, not where the browser only looks ahead, and not
again for FAILED_FOR seconds after it failed, however often the page is loaded. Who does not want to
wait presses "Try again", which is a POST.

A sealed message is fetched where a key that its owner has given to the agent is unlocked: before,
the page asks for his password (``unlocking``), or tells how to open it elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from webob import Response

from xhmtp_wsgi.errors import Malformed, NotFound, TooMany, Transient, XHMTPError
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import held_keys, mailbox, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice, true_fields
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.secret_box import Locked
from xhmtp_wsgi.web import answering, listing
from xhmtp_wsgi.web.changes import CHANGES
from xhmtp_wsgi.web.conversation import around
from xhmtp_wsgi.web.doors import way_back
from xhmtp_wsgi.web.failed_readings import FailedReadings
from xhmtp_wsgi.web.handing_out import age_file, handed_out, source, whole
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.reading import NotSwitchedOn, Opened, Source, keep_copy, open_message
from xhmtp_wsgi.web.sealed_reading import inside_of, open_for
from xhmtp_wsgi.web.shown_checks import failed, has_new_key, shown_checks
from xhmtp_wsgi.web.shown_message import Heading, heading_of, raw_fields, shown_message
from xhmtp_wsgi.web.trouble import SEAL_TROUBLES, Trouble, trouble_of
from xhmtp_wsgi.web.unlocking import UNLOCK
from xhmtp_wsgi.web.visit import Visit

_failed = FailedReadings()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of opening it; neither where it was not tried, or is not switched on."""

    opened: Opened | None = None
    trouble: Trouble | None = None
    switched_off: bool = False
    locked: bool = False


def shown(visit: Visit) -> Response:
    """``GET message/ID``, and what lies below it."""
    notice = _named(visit)
    if not visit.path[2:]:
        return _shown_page(visit, notice)
    try:
        return _below(visit, notice)
    except SEAL_TROUBLES:
        # Its page tells in plain words what is wrong.
        return visit.redirect("message", notice.identifier)


def _below(visit: Visit, notice: Notice) -> Response:
    match visit.path[2:]:
        case ("part", number):
            return handed_out(_octets(visit, notice), number)
        case ("source",):
            return source(_octets(visit, notice))
        case ("whole",):
            return whole(_octets(visit, notice), notice.identifier)
        case ("sealed",) if is_sealed_notice(notice):
            sealed = open_message(visit.agent, visit.owner, notice)
            return age_file(sealed.octets, notice.identifier)
    raise NotFound("there is no such page")


def done(visit: Visit) -> Response:
    """``POST message/ID``: by the button ``do`` that was pressed."""
    notice = _named(visit)
    action = _ACTIONS.get(visit.form().text("do"))
    if action is None or len(visit.path) > 2:
        raise Malformed("there is no such change")
    return action(visit, notice)


PAGES: Mapping[str, Page] = {"message": Page(get=shown, post=done)}


def _named(visit: Visit) -> Notice:
    return mailbox.find(visit.database, visit.owner, visit.path[1] if visit.path[1:] else "")


def _octets(visit: Visit, notice: Notice) -> bytes:
    return open_for(visit, notice).octets


def _shown_page(visit: Visit, notice: Notice) -> Response:
    ahead = " ".join(
        visit.request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Moz")
    )
    if "prefetch" in ahead.lower():
        # Any other answer could be shown to him later, as if he had opened it.
        return response(503, b"not before it is opened\n", "text/plain; charset=utf-8")
    if visit.request.method == "HEAD":
        return _page(visit, notice, _Outcome())
    earlier = _failed.find(notice.identifier, visit.agent.monotonic())
    outcome = _tried(visit, notice) if earlier is None else _Outcome(trouble=earlier)
    return _page(visit, notice, outcome)


def _tried(visit: Visit, notice: Notice, *, keep: bool = False) -> _Outcome:
    """Opens it, and notes that it was seen, or that that failed."""
    agent = visit.agent
    try:
        outcome = _Outcome(open_for(visit, notice, keep=keep))
    except NotSwitchedOn:
        outcome = _Outcome(switched_off=True)
    except Locked:
        return _Outcome(locked=True)
    except XHMTPError as error:
        trouble = trouble_of(error, notice, agent.clock())
        # With another key, or in another moment, it can be read.
        if not isinstance(error, (TooMany, *SEAL_TROUBLES)):
            _failed.note(notice.identifier, trouble, agent.monotonic())
        return _Outcome(trouble=trouble)
    _failed.forget(notice.identifier)
    if notice.seen_at is None and notice.position > 0:
        mailbox.set_seen(visit.database, visit.owner, [notice.identifier], agent.clock(), seen=True)
    return outcome


def _page(visit: Visit, notice: Notice, outcome: _Outcome) -> Response:
    opened = outcome.opened
    prefer_html = visit.query("as") != "text"
    message = None if opened is None else shown_message(opened.octets, prefer_html=prefer_html)
    checks = [*notice.checks, *(opened.checks if opened else ())]
    inside = inside_of(visit, notice)
    thread = notice.thread if inside is None else inside.thread
    conversation = around(visit, thread, notice.identifier, notice.received_at)
    return visit.page(
        "message.html",
        notice=notice,
        heading=_heading(notice, opened),
        known=listing.known(notice),
        no_subject=listing.SEALED_SUBJECT
        if opened is None and is_sealed_notice(notice)
        else listing.NO_SUBJECT,
        sealed=is_sealed_notice(notice) or (opened is not None and opened.sealed),
        locked=outcome.locked,
        unlock_action=visit.url(UNLOCK) + way_back(("message", notice.identifier)),
        is_held=outcome.locked and held_keys.has_any(visit.database, visit.owner),
        message=message,
        as_text=not prefer_html,
        trouble=outcome.trouble,
        switched_off=outcome.switched_off,
        host=MessageURL.parse(notice.url).host,
        is_copy=opened is not None and opened.source is Source.COPY,
        kept=opened is not None and opened.kept,
        checks=shown_checks(checks),
        failed=failed(opened.checks if opened else ()),
        has_new_key=has_new_key(checks),
        other_author=_other_author(notice, opened),
        can_answer=listing.author_of(notice) is not None,
        earlier=conversation.earlier,
        later=conversation.later,
    )


def _heading(notice: Notice, opened: Opened | None) -> Heading:
    """As the notification told it, and what that had left out from the message itself.

    Of a sealed one as it is inside.
    """
    told = header_fields(notice.headers)
    if opened is not None and opened.sealed:
        return heading_of(true_fields(notice, opened.octets))
    return heading_of({**(raw_fields(opened.octets) if opened else {}), **told})


def _other_author(notice: Notice, opened: Opened | None) -> str:
    """Whom the message names in From, where that is not whom its notification named."""
    if opened is None:
        return ""
    told, own = header_fields(notice.headers), raw_fields(opened.octets)
    try:
        same = addresses(told.get("from", "")) == addresses(own.get("from", ""))
    except XHMTPError:
        same = told.get("from") == own.get("from")
    return "" if same else own.get("from", "") or "nobody"


# What its owner does with it


def _try_again(visit: Visit, notice: Notice) -> Response:
    return _page(visit, notice, _tried(visit, notice))


def _keep(visit: Visit, notice: Notice) -> Response:
    outcome = _tried(visit, notice, keep=True)
    if outcome.opened is None:
        return _page(visit, notice, outcome)
    if not outcome.opened.kept:
        raise Transient("the copy could not be kept; please try again later")
    return visit.redirect("message", notice.identifier, note="kept")


def _trust(visit: Visit, notice: Notice) -> Response:
    """Takes the key that signed it for its author's from now on."""
    agent, owner = visit.agent, visit.owner
    opened = open_for(visit, notice)
    reading.trust(agent, owner, opened.octets)
    # What was found inside of a sealed one is kept nowhere: it is looked at each time.
    if opened.kept and not opened.sealed:
        author = reading.check_author(agent, owner, opened.octets)
        others = [check for check in opened.checks if check.name != author.name]
        keep_copy(agent, owner, notice, ReadMessage(opened.octets, (*others, author)))
    return visit.redirect("message", notice.identifier, note="trusted")


def _starring(name: str) -> Callable[[Visit, Notice], Response]:
    def change(visit: Visit, notice: Notice) -> Response:
        CHANGES[name].make(visit, [notice.identifier])
        return visit.redirect("message", notice.identifier, note=CHANGES[name].note)

    return change


_ACTIONS: Mapping[str, Callable[[Visit, Notice], Response]] = {
    "again": _try_again,
    "keep": _keep,
    "trust": _trust,
    "star": _starring("star"),
    "unstar": _starring("unstar"),
    "reply": answering.reply,
    "reply-all": answering.reply_to_all,
    "forward": answering.forward,
}
