"""xhmtp key add|list|retire: the keys with which a domain or a person signs.

A domain's change without a gap; a person's are SSH keys of her own: we know the public half alone.
"""

from typing import TextIO

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import date, duration, table
from xhmtp_wsgi.errors import Misdirected, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.ssh_signature import MAX_KEY_LINE, PublicKey
from xhmtp_wsgi.sender import author_keys
from xhmtp_wsgi.signing_keys import KEPT_AFTER, SigningKey


@click.group("key")
def key_group() -> None:
    """The keys with which a domain signs its notifications, and a person her messages."""


@key_group.command("add")
@click.argument("owner", metavar="[DOMAIN|ADDRESS]", required=False)
@click.argument("public", type=click.File("r"), required=False)
@click.pass_context
def key_add(context: click.Context, owner: str | None, public: TextIO | None) -> None:
    """For a domain: make a key and print the record to publish.

    For an ADDRESS: register the SSH key whose .pub file is PUBLIC; `xhmtp send --sign` signs with
    the private one, and so does `ssh-keygen -Y sign -n xhmtp`.
    """
    agent = open_agent(context.obj)
    if owner is not None and "@" in owner:
        _add_for_person(agent, owner, public)
        return
    domain = owner
    name = _domain(agent, domain)
    others = [key for key in agent.signing_keys.all(name) if key.retired_at is None]
    key = agent.signing_keys.add(name)
    click.echo("publish this in the DNS:")
    click.echo(f"  {key.record}")
    if others:
        wait = duration(agent.settings.key_wait)
        click.echo(f"it signs {wait} after it has been seen there; then retire the old one:")
        click.echo(f"  xhmtp key retire {name} {others[0].name.selector}")
    else:
        click.echo("it signs as soon as it is seen there")


@key_group.command("list")
@click.argument("owner", metavar="[DOMAIN|ADDRESS]", required=False)
@click.pass_context
def key_list(context: click.Context, owner: str | None) -> None:
    """List the keys of a domain or an address, and what is to be done with each."""
    agent = open_agent(context.obj)
    if owner is not None and "@" in owner:
        for person_key in author_keys.keys_of(agent.database, _person(agent, owner)):
            click.echo(f"{person_key.fingerprint()}  {person_key.line()}")
        return
    domain = owner
    name = _domain(agent, domain)
    signer = agent.signing_keys.signer(name)
    known = agent.signing_keys.all(name)
    if not known:
        click.echo(f"{name} has no key; 'xhmtp key add {name}' makes one")
        return
    signing = None if signer is None else signer.name
    rows = [
        (key.name.selector, date(key.created_at), _state(agent, key, signs=key.name == signing))
        for key in known
    ]
    for line in table(("SELECTOR", "MADE", "STATE"), rows):
        click.echo(line)
    click.echo("records:")
    now = agent.clock()
    for key in known:
        if key.retired_at is None or now < key.retired_at + KEPT_AFTER:
            click.echo(f"  {key.record}")


@key_group.command("retire")
@click.argument("owner", metavar="DOMAIN|ADDRESS")
@click.argument("selector", metavar="SELECTOR|FINGERPRINT")
@click.pass_context
def key_retire(context: click.Context, owner: str, selector: str) -> None:
    """Have a domain's key sign no more, or take a person's back."""
    agent = open_agent(context.obj)
    if "@" in owner:
        author_keys.remove_key(agent.database, _person(agent, owner), selector)
        click.echo(f"{selector} is taken back")
        return
    domain = owner
    name = _domain(agent, domain)
    agent.signing_keys.signer(name)
    key = agent.signing_keys.retire(name, selector)
    end = (key.retired_at or agent.clock()) + KEPT_AFTER
    click.echo(f"{selector} signs no more; keep its record in the DNS until {date(end)} (UTC)")
    click.echo("to say that it was stolen, publish it at once with an empty p= instead")


def _add_for_person(agent: Agent, owner: str, public: TextIO | None) -> None:
    if public is None:
        raise click.UsageError("name the .pub file of the key, too")
    endpoint = _person(agent, owner)
    key = PublicKey.parse(public.read(MAX_KEY_LINE + 1))
    author_keys.add_key(agent.database, endpoint, key, agent.clock())
    click.echo(f"{endpoint} signs with {key.fingerprint()}")


def _person(agent: Agent, address: str) -> Endpoint:
    endpoint = Endpoint.parse(address).canonical
    if agent.accounts.find(endpoint) is None:
        raise NotFound(f"{endpoint} has no account here")
    return endpoint


def _state(agent: Agent, key: SigningKey, *, signs: bool) -> str:
    now = agent.clock()
    if key.retired_at is not None:
        end = key.retired_at + KEPT_AFTER
        if now < end:
            return f"retired; its record must stay until {date(end)}"
        return "retired; its record may go"
    if signs:
        return "signs"
    if key.published_at is None:
        return "not seen in the DNS yet"
    left = key.published_at + agent.settings.key_wait - now
    return f"will sign in {duration(left)}" if left > 0 else "could sign; a newer one does"


def _domain(agent: Agent, domain: str | None) -> str:
    """The domain that is meant: the only one where none is named. Raises Misdirected."""
    names = list(agent.settings.domains)
    if domain is None and len(names) == 1:
        return names[0]
    if domain is None or domain.lower() not in names:
        raise Misdirected(f"name one of this agent's domains: {', '.join(names)}")
    return domain.lower()
