"""xhmtp status: how far a message has come, or how the agent as a whole is doing."""

import json
from collections.abc import Iterator

import click

from xhmtp_wsgi import counters
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import date, duration, table, until
from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.sender import outbox, queue_listing
from xhmtp_wsgi.sender.fetch import described
from xhmtp_wsgi.sender.outbox import RecipientStatus, StoredMessage


@click.command("status")
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def status(context: click.Context, identifier: str | None, as_json: bool) -> None:
    """How far the message ID has come, recipient by recipient; without ID: queue and counters."""
    agent = open_agent(context.obj)
    if identifier is None:
        figures = _figures(agent)
        lines = [json.dumps(figures)] if as_json else _in_words(figures)
    else:
        message = outbox.find(agent.database, identifier)
        if message is None:
            raise NotFound(f"there is no message {identifier}")
        found = described(agent, message)
        lines = [json.dumps(found, ensure_ascii=False)] if as_json else _of(agent, message)
    for line in lines:
        click.echo(line)


def _of(agent: Agent, message: StoredMessage) -> Iterator[str]:
    now = agent.clock()
    yield f"{message.identifier} from {message.sender}, {message.size:,} octets"
    yield f"sent {date(message.created_at)}, kept until {date(message.expires_at)}"
    if message.withdrawn_at is not None:
        yield f"withdrawn {date(message.withdrawn_at)}"
    statuses = outbox.statuses(agent.database, message.identifier)
    yield from table(
        ("RECIPIENT", "STATE", "TRIES>", "NEXT TRY", "FETCHED", "LAST ANSWER"),
        (
            (
                one.recipient + (f" (moved to {one.moved_to})" if one.moved_to else ""),
                one.state,
                str(one.tries),
                until(one.next_try_at, now) if one.next_try_at is not None else "-",
                date(one.fetched_at),
                one.last_answer or "",
            )
            for one in statuses
        ),
    )
    yield from _last_traceback(statuses)


def _last_traceback(statuses: list[RecipientStatus]) -> Iterator[str]:
    for one in statuses:
        if one.traceback:
            yield f"\nThe last internal error, for {one.recipient}:\n{one.traceback.rstrip()}"
            return


def _figures(agent: Agent) -> dict[str, float | None]:
    state = queue_listing.state(agent.database)
    now = agent.clock()
    return {
        "queue_entries": state.entries,
        "queue_oldest_seconds": now - state.oldest_at if state.oldest_at is not None else None,
        "queue_set_aside": state.set_aside,
        "failing_destinations": state.failing_destinations,
        **dict(sorted(counters.read(agent.database).items())),
    }


def _in_words(figures: dict[str, float | None]) -> Iterator[str]:
    width = max(map(len, figures))
    for name, value in figures.items():
        if value is None:
            shown = "-"
        elif name.endswith("_at"):
            shown = date(value)
        elif name == "queue_oldest_seconds":
            shown = duration(value)
        else:
            shown = f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"
        yield f"{name.ljust(width)}  {shown}"
