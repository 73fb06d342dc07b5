"""xhmtp search: finds messages by words, in what came and in what was sent."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import click

from xhmtp_wsgi import search as index
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.own_mailbox import owner_of
from xhmtp_wsgi.commands.wording import date, table
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.recipient import inbox, mailbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.search import Hit
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.outbox import StoredMessage

AT_ONCE = 100  # hits that are looked up at once
SENT, QUARANTINE = "sent", "quarantine"


@dataclass(frozen=True, slots=True)
class _Found:
    """A message that was found; ``number``: None for what was sent."""

    identifier: str
    number: int | None
    place: str
    when: float
    sender: str
    recipients: str
    subject: str

    def as_json(self) -> str:
        return json.dumps(
            {
                "id": self.identifier,
                "number": self.number,
                "folder": self.place,
                "date": date(self.when),
                "from": self.sender or None,
                "to": self.recipients or None,
                "subject": self.subject or None,
            },
            ensure_ascii=False,
        )


@click.command("search")
@click.argument("address")
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", default=50, show_default=True, help="Messages at the most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def search(
    context: click.Context, address: str, words: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """Find messages of ADDRESS, received or sent, that have all of these WORDS; newest first.

    A word is found by its beginning, '"two words"' together; in names, addresses and subjects, and
    in the texts of which a copy is kept here.
    """
    agent = open_agent(context.obj)
    owner = owner_of(agent, address)
    found = _found(agent, owner, " ".join(words), limit)
    for line in map(_Found.as_json, found) if as_json else _in_words(list(found)):
        click.echo(line)


def _in_words(found: list[_Found]) -> Iterator[str]:
    rows = (
        (
            str(one.number) if one.number else one.identifier,
            date(one.when),
            one.place,
            (one.recipients if one.place == SENT else one.sender or "anonymous")[:40],
            (one.subject or "(no subject)")[:60],
        )
        for one in found
    )
    yield from table(("MESSAGE>", "DATE", "WHERE", "WHO", "SUBJECT"), rows)


def _found(agent: Agent, owner: Endpoint, query: str, limit: int) -> Iterator[_Found]:
    before, left = None, limit
    while left > 0:
        hits = index.find(agent.database, owner, query, limit=AT_ONCE, before=before)
        if not hits:
            return
        for one in _looked_up(agent, owner, hits)[:left]:
            left -= 1
            yield one
        before = hits[-1].number


def _looked_up(agent: Agent, owner: Endpoint, hits: list[Hit]) -> list[_Found]:
    """The messages of these hits, in their order; those that have gone meanwhile are left out."""
    known: dict[tuple[str, str], _Found] = {}
    received = [hit.item for hit in hits if hit.kind == inbox.SEARCH_KIND]
    for notice in mailbox.several(agent.database, owner, received):
        known[inbox.SEARCH_KIND, notice.identifier] = _of_notice(notice)
    sent = [hit.item for hit in hits if hit.kind == outbox.SEARCH_KIND]
    for message in outbox.several(agent.database, owner.canonical, sent):
        known[outbox.SEARCH_KIND, message.identifier] = _of_message(message)
    return [known[hit.kind, hit.item] for hit in hits if (hit.kind, hit.item) in known]


def _of_notice(notice: Notice) -> _Found:
    fields = _shown_fields(notice.headers)
    kept_out = notice.position < 0
    return _Found(
        notice.identifier,
        None if kept_out else notice.position,
        QUARANTINE if kept_out else notice.folder,
        notice.received_at,
        fields.get("from", ""),
        fields.get("to", ""),
        fields.get("subject", ""),
    )


def _of_message(message: StoredMessage) -> _Found:
    fields = _shown_fields(message.header)
    return _Found(
        message.identifier,
        None,
        SENT,
        message.created_at,
        str(message.sender),
        fields.get("to", "") or fields.get("cc", ""),
        fields.get("subject", ""),
    )


def _shown_fields(header: bytes) -> dict[str, str]:
    return {name: display(value) for name, value in header_fields(header).items()}
