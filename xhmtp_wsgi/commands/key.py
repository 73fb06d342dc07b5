"""xhmtp key add|generate|list|retire: the keys of a domain and of a person.

A domain's, which it signs with, change without a gap. Of a person's we know the public half alone
(person_keys.py has them).
"""

import sys
from pathlib import Path
from typing import BinaryIO

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands import generated_key, open_agent, person_keys
from xhmtp_wsgi.commands.wording import date, duration, table
from xhmtp_wsgi.errors import Misdirected
from xhmtp_wsgi.signing_keys import KEPT_AFTER, SigningKey


@click.group("key")
def key_group() -> None:
    """The keys with which a domain signs its notifications, and those that a person publishes."""


@key_group.command("add")
@click.argument("owner", metavar="[DOMAIN|ADDRESS]", required=False)
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--replace", is_flag=True, help="Of keys to seal to: in place of the others.")
@click.pass_context
def key_add(
    context: click.Context, owner: str | None, file: BinaryIO | None, replace: bool
) -> None:
    """For a domain: make a key and print the record to publish.

    For an ADDRESS: publish the key in FILE, or in standard input (-). An SSH key (.pub) is one that
    she signs with: `xhmtp send --sign` does, and `ssh-keygen -Y sign -n xhmtp`. An age key
    (age1...) is one that messages to her are sealed to; of a file of age-keygen's the secret is not
    stored. An OpenPGP key is found by `gpg --locate-keys`, where the domain's setting
    web_key_directory is on; it takes the place of the one before.
    """
    agent = open_agent(context.obj)
    if owner is not None and "@" in owner:
        if file is None:
            raise click.UsageError("name the file of the key, too")
        endpoint = person_keys.person(agent, owner)
        for line in person_keys.add(agent, endpoint, file, replace=replace):
            click.echo(line)
        return
    if file is not None or replace:
        raise click.UsageError("a domain's key is made here; a FILE is for an ADDRESS")
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
    """List the keys of a domain or an address, and what each is for."""
    agent = open_agent(context.obj)
    if owner is not None and "@" in owner:
        for line in person_keys.listed(agent, person_keys.person(agent, owner)):
            click.echo(line)
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


@key_group.command("generate")
@click.argument("address")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="The file for the secret key."
)
@click.option("--post-quantum", is_flag=True, help="A key that quantum computers do not open.")
@click.option(
    "--passphrase/--no-passphrase",
    default=None,
    help="Seal the file with a passphrase: asked for twice, as is done at a terminal if neither is "
    "given; else one line on standard input.",
)
@click.option("--replace", is_flag=True, help="In place of the other keys to seal to.")
@click.pass_context
def key_generate(
    context: click.Context,
    address: str,
    output: Path,
    post_quantum: bool,
    passphrase: bool | None,
    replace: bool,
) -> None:
    """Make an age key for ADDRESS: the secret goes into a new file, the public half is published.

    Whoever writes to ADDRESS can seal messages to it; `age -d -i`, and xhmtp where it reads, open
    them with that file, which belongs on the reader's own machine and nowhere else.
    """
    wanted = sys.stdin.isatty() if passphrase is None else passphrase
    told = generated_key.generate(
        open_agent(context.obj), address, output, post_quantum=post_quantum, replace=replace,
        passphrase=generated_key.asked_passphrase if wanted else None,
    )  # fmt: skip
    for line in told:
        click.echo(line)


@key_group.command("retire")
@click.argument("owner", metavar="DOMAIN|ADDRESS")
@click.argument("selector", metavar="SELECTOR|FINGERPRINT|KEY")
@click.pass_context
def key_retire(context: click.Context, owner: str, selector: str) -> None:
    """Have a domain's key sign no more, or take a person's back; KEY as `xhmtp key list` shows it.

    What was sealed to a key stays so: keep the secret one to read it.
    """
    agent = open_agent(context.obj)
    if "@" in owner:
        person_keys.retire(agent, person_keys.person(agent, owner), selector)
        click.echo(f"{selector} is taken back")
        return
    domain = owner
    name = _domain(agent, domain)
    agent.signing_keys.signer(name)
    key = agent.signing_keys.retire(name, selector)
    end = (key.retired_at or agent.clock()) + KEPT_AFTER
    click.echo(f"{selector} signs no more; keep its record in the DNS until {date(end)} (UTC)")
    click.echo("to say that it was stolen, publish it at once with an empty p= instead")


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
