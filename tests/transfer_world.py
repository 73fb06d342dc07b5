"""What the tests of moving share: a world with something of everything, and new hosts for it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tests.templates import copy_sqlite
from tests.world import ALICE, BOB, MESSAGE, World, basic, call, site
from xhmtp_wsgi import XHMTP, Settings, preferences
from xhmtp_wsgi.addressing import aliases
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import ConnectionFailed
from xhmtp_wsgi.group_register import groups, members
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.recipient import filters, inbox, mailbox
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.kept_copies import keep
from xhmtp_wsgi.recipient.reading import known_authors
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender import drafts, outbox, queue_listing
from xhmtp_wsgi.sender.author_keys import add_key
from xhmtp_wsgi.sender.drafts import DraftFields
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.queue_listing import Chosen
from xhmtp_wsgi.sender.target_trust import tls_domains
from xhmtp_wsgi.transfer.carried import CARRIED
from xhmtp_wsgi.transfer.layout import MANIFEST

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwI2ZdIfC1gAXlOvn4jYX9ySk1TnJhVtYp0J3oTf2yH"


def sent(world: World, subject: str, to: str = "bob@b.example", body: bytes = b"") -> str:
    """alice hands in a message; its ID."""
    text = MESSAGE.replace(b"hello", subject.encode()).replace(b"bob@b.example", to.encode())
    answer = world.inject(text + body)
    assert answer.status_int == 201, answer.body
    return str(answer.json["id"])


def fill(world: World) -> dict[str, str]:
    """Messages in every state, and something in every table; message IDs by state."""
    a, b = world.a.agent, world.b.agent
    found = {name: sent(world, name) for name in ("notified", "fetched", "withdrawn")}
    found["refused"] = sent(world, "refused", "nobody@b.example")
    world.notify()
    for notice in inbox.page(b.database, BOB, newest=3, limit=3):
        url = MessageURL.parse(notice.url)
        if url.path.endswith(found["fetched"]):
            fetched = call(world.a, url.path, authorization=basic("bob@b.example", url.code))
            assert fetched.status_int == 200
    outbox.withdraw(a.database, found["withdrawn"], world.clock.now)
    world.clock.now += 100
    filters.add(b.database, "bob@b.example", Action.QUARANTINE, "*", "subject", "kept*")
    found["kept out"] = sent(world, "kept out")
    world.notify()
    up = world.network.hosts["server.b.example"]
    world.network.hosts["server.b.example"] = ConnectionFailed("it is away")
    found["deferred"] = sent(world, "deferred", body=b"x" * 600_000)
    world.clock.now += 1
    world.notify()
    world.network.hosts["server.b.example"] = up
    found["expired"] = sent(world, "expired")
    queue_listing.cancel(a.database, Chosen(found["expired"]))
    found["queued"] = sent(world, "queued", "bob@b.example, Bea@b.example, cy@c.example")
    filters.add(b.database, "b.example", Action.ACCEPT, "*@a.example")
    _set_up_addresses(b, world.clock.now)
    for one in (a, b):
        one.signing_keys.add(next(iter(one.settings.domains)))
    _work_on_mailbox(b, found["fetched"], world.clock.now)
    b.accounts.add_token(BOB, "feed reader")
    add_key(a.database, ALICE, PublicKey.parse(KEY), world.clock.now)
    with b.database.transaction() as connection:
        connection.execute(
            insert_or(connection, known_authors).values(
                owner=str(BOB), author=str(ALICE), line=KEY, first_seen_at=world.clock.now
            )
        )
    with a.database.transaction() as connection:
        connection.execute(
            insert_or(connection, tls_domains).values(
                domain="c.example", seen_at=world.clock.now - 5
            )
        )
    return found


def _set_up_addresses(agent: Agent, now: float) -> None:
    """An alias and a group at bob's domain."""
    with agent.database.transaction() as connection:
        connection.execute(
            aliases.insert().values(
                address="info@b.example", target=str(BOB), may_send=True, created_at=now
            )
        )
        team = "team@b.example"
        connection.execute(
            groups.insert().values(
                address=team, title="Team", writers="members", joining="owners", created_at=now
            )
        )
        connection.execute(
            members.insert().values(
                group_address=team, member=str(BOB), address="Bob@b.example", is_owner=True,
                joined_at=now,
            )
        )  # fmt: skip


def _work_on_mailbox(agent: Agent, fetched: str, now: float) -> None:
    """bob reads, files, deletes, keeps a copy, begins an answer, and chooses something."""
    database = agent.database
    newest = inbox.page(database, BOB, newest=3, limit=3)
    by_message = {one.url.rpartition("/")[2]: one.identifier for one in newest}
    mailbox.set_seen(database, BOB, [by_message[fetched]], now, seen=True)
    mailbox.set_starred(database, BOB, [by_message[fetched]], now, starred=True)
    mailbox.move(database, BOB, [by_message[fetched]], "Work.Ünder way")
    octets = b"Subject: kept\r\n\r\n" + b"y" * 300_000
    keep(database, by_message[fetched], octets, [Check("digest", "pass", "it is")], now)
    identifier = drafts.save(
        database, BOB, DraftFields(to="alice@a.example", subject="Grüße", text="Dear"), now
    )
    drafts.attach(database, BOB, identifier, "photo.jpg", "image/jpeg", bytes(range(256)) * 10)
    preferences.put(database, BOB, "signature", "-- \nBob")


@contextmanager
def new_host(world: World, directory: Path, url: str, **options: Any) -> Iterator[Agent]:
    """Another host for both domains, with an empty database."""
    if url.startswith("sqlite:///"):
        copy_sqlite(Path(url.removeprefix("sqlite:///")))
    agent = make_agent(
        Settings.load(
            {
                "database": url,
                "domain": {"a.example": {}, "b.example": {}},
                "key_directory": str(directory / "keys"),
                **options,
            }
        ),
        resolver=world.resolver,
        network=world.network,  # type: ignore[arg-type]
        clock=world.clock,
        monotonic=world.clock,
    )
    try:
        yield agent
    finally:
        agent.counters.write()
        agent.database.close()


def at(agent: Agent) -> XHMTP:
    """The site of a host."""
    return XHMTP(site, agent.settings, agent=agent)


def notify(agent: Agent) -> int:
    """One pass of a host's notifier; how many were told."""
    return Notifier(agent).run_pass().notified


def kept(*agents: Agent) -> dict[str, list[dict[str, Any]]]:
    """All that is carried in these agents' databases, in an order of its own."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for agent in agents:
        for form in CARRIED:
            with agent.database.reading() as connection:
                rows = [form.encode(row) for row in connection.execute(select(form.table))]
            rows = [
                {
                    name: value
                    for name, value in row.items()
                    if name not in ("version", "changed_at")
                }
                for row in rows
            ]
            tables[form.table.name] = sorted([*tables.get(form.table.name, []), *rows], key=str)
    return tables


def everything(agent: Agent) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with agent.database.reading() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=str)
            for table in metadata.sorted_tables
        }


def told(agent: Agent, reader: Endpoint = BOB) -> list[tuple[str, str]]:
    """Identifier and message ID of each notice of a mailbox, newest first."""
    found = inbox.page(agent.database, reader, newest=10**9, limit=10**9)
    return [(one.identifier, one.url.rpartition("/")[2]) for one in found]


def seal(directory: Path) -> None:
    """Makes the manifests fit what the files are now, as a forger would."""
    for manifest in sorted(directory.rglob(MANIFEST), key=lambda path: -len(path.parts)):
        content = json.loads(manifest.read_text())
        for name in content["files"]:
            octets = (manifest.parent / name).read_bytes()
            content["files"][name] = {
                "octets": len(octets), "sha256": sha256(octets).hexdigest(),
            }  # fmt: skip
        manifest.write_text(json.dumps(content))
