"""A visit: somebody who is logged in asks for a page of his own. What each handler gets."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from webob import Request, Response

from xhmtp_wsgi.accounts import Account
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.routes import page_path
from xhmtp_wsgi.secret_box import SecretBox
from xhmtp_wsgi.sessions import Sessions
from xhmtp_wsgi.web.address import led_to
from xhmtp_wsgi.web.form import Form, whole_number
from xhmtp_wsgi.web.notes import NOTES
from xhmtp_wsgi.web.places import Place, places
from xhmtp_wsgi.web.rendering import rendered

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity


class Means(StrEnum):
    """By what somebody is logged in."""

    SESSION = "session"
    SITE = "site"
    BASIC = "basic"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Who asks, and for what. ``path``: what stands behind his address; ``prefix``: no slashes."""

    agent: Agent
    request: Request
    owner: Endpoint
    account: Account
    means: Means
    token: str = field(repr=False)
    """What every form of a page must send as its field ``token``."""
    path: tuple[str, ...]
    prefix: str
    keeper: str | None = field(default=None, repr=False)
    """The secret of the session that may keep his keys unlocked; None where he has none."""
    sent: Form | None = None

    @property
    def database(self) -> Database:
        """The agent's."""
        return self.agent.database

    @property
    def note(self) -> str:
        """What is to be told of the last change; empty where nothing is."""
        return NOTES.get(self.query("note"), "")

    @cached_property
    def identities(self) -> "tuple[Identity, ...]":
        """The keys that he has unlocked, and not locked again; none for most visits."""
        if self.keeper is None:
            return ()
        kept = Sessions(self.database, self.agent.clock).unlocked(self.keeper, self.account)
        if not kept:
            return ()
        from xhmtp_wsgi.protocol.sealing import parse_identities

        return parse_identities(kept.decode("ascii"))

    @property
    def is_unlocked(self) -> bool:
        """Are sealed messages shown to him in this visit?"""
        return bool(self.identities)

    @cached_property
    def draft_boxes(self) -> tuple[SecretBox, ...]:
        """What opens and closes his drafts that answer sealed messages; none where it is locked."""
        return tuple(SecretBox.of(one.secret, "drafts") for one in self.identities)

    def places(self) -> list[Place]:
        """The navigation."""
        return places(self)

    def form(self) -> Form:
        """The form that was sent; its token was looked at. For a page's ``post`` only."""
        if self.sent is None:
            raise ValueError("no form was sent")
        return self.sent

    def query(self, name: str, default: str = "") -> str:
        """A value of the query."""
        found = parse_qs(self.request.query_string, keep_blank_values=True).get(name)
        return found[0].replace("\0", "") if found else default

    def number(self, name: str) -> int | None:
        """A whole number of the query; None for anything else."""
        return whole_number(self.query(name))

    def url(self, *path: str, **query: object) -> str:
        """The path of one of his pages; of ``query`` only what is not None or empty."""
        kept = {name: value for name, value in query.items() if value not in (None, "")}
        base = page_path(self.prefix, self.owner, *path)
        return f"{base}?{urlencode(kept)}" if kept else base

    def redirect(self, *path: str, note: str = "", **query: object) -> Response:
        """Leads to one of his pages (303), which shows a note: a key of notes.NOTES."""
        if note and note not in NOTES:
            raise ValueError(f"there is no note {note}")
        return led_to(self.url(*path, **query, note=note))

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page by its template, which knows ``visit`` beside the values."""
        known = {**values, "visit": self}
        return rendered(self.agent.settings, self.prefix, self.owner, template, status, known)
