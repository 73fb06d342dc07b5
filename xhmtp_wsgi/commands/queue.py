"""xhmtp queue list|retry|cancel: who is still to be told, and a hand in it."""

import json
from collections.abc import Iterator, Sequence

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import date, duration, table, until
from xhmtp_wsgi.sender import queue_listing
from xhmtp_wsgi.sender.queue_listing import Chosen, Waiting

READABLE = 40  # entries above which destinations are listed in their place

WHAT_HELP = "WHAT is a message's ID, a recipient's address, or a domain."


@click.group("queue")
def queue_group() -> None:
    """Who is still to be told."""


@queue_group.command("list")
@click.argument("what", required=False)
@click.option("--all", "everything", is_flag=True, help="Each entry, however many there are.")
@click.option("--limit", default=1000, show_default=True, help="Entries at the most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def queue_list(
    context: click.Context, what: str | None, everything: bool, limit: int, as_json: bool
) -> None:
    """List who is still to be told, since when, and why not yet.

    A long queue is listed by destination. WHAT is a message's ID, a recipient's address, or a
    domain.
    """
    agent = open_agent(context.obj)
    state = queue_listing.state(agent.database)
    if as_json or everything or what is not None or state.entries <= READABLE:
        entries = queue_listing.waiting(agent.database, limit, Chosen(what))
        for line in _as_json(entries) if as_json else _entries(entries, agent.clock()):
            click.echo(line)
        if len(entries) == limit and not as_json:
            click.echo(f"... --limit shows more than {limit}")
        return
    for line in _destinations(agent, state):
        click.echo(line)


@queue_group.command("retry")
@click.argument("what", required=False)
@click.option("--all", "everything", is_flag=True, help="The whole queue.")
@click.pass_context
def queue_retry(context: click.Context, what: str | None, everything: bool) -> None:
    """Have entries tried at the next pass, those set aside too.

    WHAT is a message's ID, a recipient's address, or a domain.
    """
    agent = open_agent(context.obj)
    chosen = _chosen(what, everything)
    click.echo(f"{queue_listing.retry(agent.database, chosen, agent.clock()):,} made due")


@queue_group.command("cancel")
@click.argument("what", required=False)
@click.option("--all", "everything", is_flag=True, help="The whole queue.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def queue_cancel(context: click.Context, what: str | None, everything: bool, yes: bool) -> None:
    """Give entries up; their senders are told.

    WHAT is a message's ID, a recipient's address, or a domain.
    """
    agent = open_agent(context.obj)
    chosen = _chosen(what, everything)
    if not yes:
        click.confirm(f"Give up what waits for {what or 'everybody'}?", abort=True)
    click.echo(f"{queue_listing.cancel(agent.database, chosen):,} given up")


def _chosen(what: str | None, everything: bool) -> Chosen:
    if (what is None) != everything:
        raise click.UsageError("name WHAT is meant, or --all: one of the two")
    return Chosen(what)


def _entries(entries: Sequence[Waiting], now: float) -> Iterator[str]:
    if not entries:
        yield "nobody is still to be told"
        return
    yield from table(
        ("ID", "SENDER", "RECIPIENT", "STATE", "SINCE", "TRIES>", "NEXT TRY", "WHY"),
        (
            (
                entry.message,
                entry.sender,
                entry.recipient,
                "set aside" if entry.set_aside else entry.state,
                duration(now - entry.queued_at),
                str(entry.tries),
                until(entry.next_try_at, now),
                entry.last_answer or "not tried yet",
            )
            for entry in entries
        ),
    )


def _as_json(entries: Sequence[Waiting]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(
            {
                "id": entry.message,
                "sender": entry.sender,
                "recipient": entry.recipient,
                "state": entry.state,
                "set-aside": entry.set_aside,
                "queued": date(entry.queued_at),
                "tries": entry.tries,
                "next-try": date(entry.next_try_at),
                "last-answer": entry.last_answer,
            },
            ensure_ascii=False,
        )


def _destinations(agent: Agent, state: queue_listing.QueueState) -> Iterator[str]:
    now = agent.clock()
    domains = queue_listing.waiting_domains(agent.database)
    yield (
        f"{state.entries:,} recipients at {len(domains):,} destinations are still to be told, "
        f"the first for {duration(now - (state.oldest_at or now))}; "
        "'xhmtp queue list DOMAIN' lists them"
    )
    yield from table(
        ("WAIT>", "DESTINATION", "SINCE", "NEXT TRY", "WHY"),
        (
            (
                f"{domain.entries:,}",
                domain.domain,
                duration(now - domain.oldest_at),
                until(domain.next_try_at, now),
                (domain.last_answer or "not tried yet")
                + (f" (failed {domain.failures} times)" if domain.failures > 1 else ""),
            )
            for domain in domains
        ),
    )
