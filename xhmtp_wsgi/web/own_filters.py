"""``settings/filters``: whom he lets in, in words; each rule can be removed, and new ones added."""

import re
from dataclasses import dataclass
from types import MappingProxyType

from webob import Response

from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.recipient import filters
from xhmtp_wsgi.recipient.filters import ANONYMOUS, EVERYBODY, UNSIGNED, Action, Rule
from xhmtp_wsgi.web.form import Form
from xhmtp_wsgi.web.visit import Visit

MOST_RULES = 500
ACTIONS = MappingProxyType(
    {
        Action.QUARANTINE: "Put into quarantine",
        Action.REFUSE: "Refuse, so that the sender is told",
        Action.DISCARD: "Discard, so that the sender is not told",
        Action.ACCEPT: "Let in",
    }
)
GROUPS = MappingProxyType(
    {
        "address": "the address",
        "domain": "everybody at the domain",
        "below": "everybody at domains below",
        ANONYMOUS: "whoever does not say who he is",
        UNSIGNED: "whatever its domain has not signed",
        EVERYBODY: "everything",
    }
)
DONE = MappingProxyType(
    {
        Action.QUARANTINE: "Quarantine",
        Action.REFUSE: "Refuse",
        Action.DISCARD: "Discard",
        Action.ACCEPT: "Let in",
    }
)
HEADERS = MappingProxyType({"subject": "Subject", "from": "From", "to": "To", "list-id": "List-Id"})
_NAMED = ("address", "domain", "below")
_CONTAINS = re.compile(r"\*((?:[^*?\[]|\[[*?\[]\])+)\*")
_SPECIAL = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Told:
    """A rule in words. ``who`` and ``narrowed`` may hold what strangers are called."""

    number: int
    action: str
    who: str
    narrowed: str


def shown(visit: Visit) -> Response:
    """His rules, those of his domain before them, and the form for another."""
    return _page(visit)


def changed(visit: Visit) -> Response:
    """Adds a rule, or removes one."""
    form = visit.form()
    if form.text("do") == "remove":
        number = form.number("rule")
        if number is None:
            raise NotFound("there is no such rule")
        filters.remove(visit.database, str(visit.owner), number)
        return visit.redirect("settings", "filters", note="filter-removed")
    try:
        _add(visit, form)
    except Malformed as error:
        return _page(visit, str(error), form)
    return visit.redirect("settings", "filters", note="filter-added")


def told(rule: Rule) -> Told:
    """A rule in words."""
    narrowed = ""
    if rule.header and rule.pattern:
        name = HEADERS.get(rule.header, rule.header)
        contained = _CONTAINS.fullmatch(rule.pattern)
        if contained is not None:
            words = re.sub(r"\[([*?\[])\]", r"\1", contained[1])
            narrowed = f"if {name} contains \N{LEFT DOUBLE QUOTATION MARK}{words}\u201d"
        else:
            narrowed = f"if {name} is like {rule.pattern}"
    return Told(rule.id, DONE[rule.action], _who(rule.who), narrowed)


def _who(who: str) -> str:
    if who.startswith("*@"):
        return f"{GROUPS['domain']} {who[2:]}"
    if who.startswith("*."):
        return f"{GROUPS['below']} {who[2:]}"
    return GROUPS.get(who, who) if who in (ANONYMOUS, UNSIGNED, EVERYBODY) else who


def _add(visit: Visit, form: Form) -> None:
    """Raises Malformed, in words for people."""
    try:
        action = Action(form.text("what"))
    except ValueError:
        raise Malformed("Choose what is to be done.") from None
    if len(filters.owned(visit.database, str(visit.owner))) >= MOST_RULES:
        raise Malformed(f"You have {MOST_RULES} rules; remove one first.")
    header, contained = form.text("where"), form.text("words").strip()
    if contained and header not in HEADERS:
        raise Malformed("Choose where the words must stand.")
    pattern = "*" + _SPECIAL.sub(r"[\g<0>]", contained) + "*" if contained else None
    filters.add(
        visit.database,
        str(visit.owner),
        action,
        _parsed_who(form),
        header if contained else None,
        pattern,
        first=form.text("first") == "yes",
    )


def _parsed_who(form: Form) -> str:
    group, name = form.text("whom"), form.text("who").strip()
    if group not in GROUPS:
        raise Malformed("Choose whom the rule is for.")
    if group not in _NAMED:
        return group
    if not name:
        raise Malformed("Write the address or the domain that the rule is for.")
    if group == "address" and "*" in name:
        raise Malformed("An address has no * in it; choose a domain instead.")
    bare = name.removeprefix("*").removeprefix("@").removeprefix(".")
    wanted = {"address": name, "domain": f"*@{bare}", "below": f"*.{bare}"}[group]
    try:
        return filters.parse_who(wanted)
    except Malformed:
        kind = "an address" if group == "address" else "a domain"
        raise Malformed(
            f"\N{LEFT DOUBLE QUOTATION MARK}{name[:100]}\u201d is not {kind}."
        ) from None


def _page(visit: Visit, wrong: str = "", form: Form | None = None) -> Response:
    """``wrong``: what is wrong with the form that was sent."""
    # Not as properties of a form's element are called: they would take their place.
    names = ("what", "whom", "who", "where", "words", "first")
    sent = {name: form.text(name) if form else "" for name in names}
    return visit.page(
        "settings_filters.html",
        status=400 if wrong else 200,
        rules=[told(rule) for rule in filters.owned(visit.database, str(visit.owner))],
        before=[told(rule) for rule in filters.owned(visit.database, visit.owner.domain)],
        actions=ACTIONS,
        groups=GROUPS,
        headers=HEADERS,
        wrong=wrong,
        sent=sent,
    )
