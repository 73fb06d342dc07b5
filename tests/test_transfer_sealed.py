"""Sealed messages, and the keys to them, move to another host: nothing is opened, all is there."""

import json
import mailbox
import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.conftest import new_postgresql_database
from tests.sealed_transfer_world import (
    NAMES,
    PASSWORD,
    Sealed,
    by_code,
    fill_sealed,
    her_own,
    sent,
)
from tests.sealed_world import fetched, new_key, notices, opened, sign
from tests.transfer_world import at, everything, fill, kept, new_host, notify, seal
from tests.world import ALICE, BOB, MESSAGE, World, basic, call, make_world
from xhmtp_wsgi import search
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity
from xhmtp_wsgi.recipient import held_keys, sealed_extracts
from xhmtp_wsgi.recipient.kept_copies import kept as kept_copy
from xhmtp_wsgi.sender import openpgp_keys, outbox, recipient_keys, sealing_keys
from xhmtp_wsgi.sender.tables import messages, pieces, representations, usage
from xhmtp_wsgi.transfer.carried import CARRIED
from xhmtp_wsgi.transfer.exporting import export
from xhmtp_wsgi.transfer.importing import import_export
from xhmtp_wsgi.transfer.maildir import MaildirWriter

A, B = "a.example", "b.example"


@pytest.fixture
def sealed(sqlite_world: World) -> Sealed:
    return fill_sealed(sqlite_world)


@pytest.fixture
def host(sqlite_world: World, tmp_path: Path) -> Iterator[Agent]:
    """A new host beside the world on SQLite."""
    with new_host(sqlite_world, tmp_path, f"sqlite:///{tmp_path}/new.db") as agent:
        yield agent


def both(world: World, new: Agent, directory: Path, name: str = "") -> None:
    """Moves both domains to a host."""
    for agent, domain in ((world.a.agent, A), (world.b.agent, B)):
        export(agent, domain, directory / f"{domain}{name}")
        import_export(new, directory / f"{domain}{name}")


def rows(agent: Agent, *columns: Any) -> list[tuple[Any, ...]]:
    with agent.database.reading() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(*columns))]


@pytest.mark.parametrize("kinds", ["sqlite postgresql", "postgresql sqlite"])
def test_every_row_comes_along_between_all_kinds_of_database(
    request: pytest.FixtureRequest, tmp_path: Path, kinds: str
):
    with ExitStack() as databases:

        def url(kind: str, name: str) -> str:
            if kind == "sqlite":
                return f"sqlite:///{tmp_path}/{name}.db"
            server = request.getfixturevalue("postgresql")
            return databases.enter_context(contextmanager(new_postgresql_database)(server))

        there, here = kinds.split()
        with make_world(tmp_path, url(there, "first")) as world:
            fill(world)
            sealed = fill_sealed(world)
            shared = not world.a.agent.database.is_sqlite
            old = [world.a.agent] if shared else [world.a.agent, world.b.agent]
            with new_host(world, tmp_path, url(here, "second")) as new:
                both(world, new, tmp_path)
                assert all(kept(new).values()), "something of everything"
                assert kept(new) == kept(*old)
                for columns in (
                    (pieces.c.message, pieces.c.number, pieces.c.octets),
                    (messages.c.id, messages.c.kept_octets),
                    (*usage.c,),
                ):
                    assert rows(new, *columns) == rows(world.a.agent, *columns)
                first = (representations.c.message, representations.c.first_piece)
                gone = sealed.ids["withdrawn"]
                assert [row for row in rows(new, *first) if row[0] != gone] == [
                    row for row in rows(world.a.agent, *first) if row[0] != gone
                ]
                assert by_code(world, new, str(BOB)) == by_code(world, world.a.agent, str(BOB))
                assert len(by_code(world, new, str(BOB))[sealed.ids["several"]]) > 600_000
                before = everything(new)
                both(world, new, tmp_path, " again")
                assert everything(new) == before, "the same again changes nothing"


def test_the_old_codes_fetch_the_same_octets_and_they_are_opened(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    both(sqlite_world, host, tmp_path)
    for name in NAMES:
        address = f"{name}@b.example"
        here = by_code(sqlite_world, host, address)
        assert here == by_code(sqlite_world, sqlite_world.a.agent, address)
        inside = opened(here[sealed.ids["several"]], sealed.keys[name])
        assert inside.endswith(b"Meet at the viaduct.\r\n" + b"x" * 600_000)
        assert b"Subject: the lamplighter" in inside
        assert here[sealed.ids["withdrawn"]] == b""
    forms = {
        by_code(sqlite_world, host, f"{one}@b.example")[sealed.ids["several"]] for one in NAMES
    }
    assert len(forms) == 4, "post-quantum, X25519, and each of Bcc"
    bob = by_code(sqlite_world, host, str(BOB))
    assert opened(bob[sealed.ids["by her"]], sealed.keys["bob"]) == MESSAGE
    assert b"Subject: one" in opened(bob[sealed.ids["one"]], sealed.keys["bob"])
    fred = by_code(sqlite_world, host, "fred@b.example")
    assert fred[sealed.ids["in clear too"]].endswith(b"Dear Bob\r\n")
    own = her_own(host, sealed.ids["several"])
    assert own == her_own(sqlite_world.a.agent, sealed.ids["several"])
    assert opened(own, sealed.keys["alice"]).endswith(b"x")


def test_who_waits_is_told_by_the_new_host_of_what_is_sealed_to_him(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    export(sqlite_world.a.agent, A, tmp_path / A, hand_over=True)
    import_export(host, tmp_path / A)
    sqlite_world.network.hosts["server.a.example"] = at(host)
    assert notify(host) == 1
    notice = notices(sqlite_world.b.agent, str(BOB))[0]
    octets = by_code(sqlite_world, host, str(BOB))[sealed.ids["queued"]]
    assert (notice.size, notice.url.rpartition("/")[2]) == (len(octets), sealed.ids["queued"])
    assert b"Subject: queued" in opened(octets, sealed.keys["bob"])
    assert "Subject" not in str(notice.headers)


def test_what_is_withdrawn_at_the_new_host_counts_no_more_in_any_of_its_forms(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    both(sqlite_world, host, tmp_path)
    sizes = dict(rows(host, messages.c.id, messages.c.kept_octets))
    before = rows(host, usage.c.octets)[0][0]
    outbox.withdraw(host.database, sealed.ids["several"], sqlite_world.clock.now)
    assert sizes[sealed.ids["several"]] > 4 * 600_000
    assert rows(host, usage.c.octets)[0][0] == before - sizes[sealed.ids["several"]]


def test_what_was_withdrawn_since_is_withdrawn_in_all_its_forms(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    both(sqlite_world, host, tmp_path)
    outbox.withdraw(sqlite_world.a.agent.database, sealed.ids["several"], sqlite_world.clock.now)
    export(sqlite_world.a.agent, A, tmp_path / "later")
    (alice,) = import_export(host, tmp_path / "later").imported
    assert (alice.sent.added, alice.sent.changed) == (0, 1)
    assert rows(host, usage.c.octets) == rows(sqlite_world.a.agent, usage.c.octets)
    left = {row[0] for row in rows(host, pieces.c.message)}
    assert sealed.ids["several"] not in left
    for name in NAMES:
        assert by_code(sqlite_world, host, f"{name}@b.example")[sealed.ids["several"]] == b""


def test_what_is_just_being_let_go_is_let_go_in_all_its_forms(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    """Its last pieces are gone: the first representation is whole, and another is not."""
    with sqlite_world.a.agent.database.transaction() as connection:
        last = (
            connection.execute(
                select(pieces.c.number)
                .where(pieces.c.message == sealed.ids["several"])
                .order_by(pieces.c.number.desc())
            )
            .scalars()
            .first()
        )
        connection.execute(
            pieces.delete().where(
                pieces.c.message == sealed.ids["several"], pieces.c.number == last
            )
        )
        connection.execute(
            update(messages)
            .where(messages.c.id == sealed.ids["several"])
            .values(expires_at=sqlite_world.clock.now - 1)
        )
    export(sqlite_world.a.agent, A, tmp_path / A)
    assert not list((tmp_path / A / str(ALICE)).rglob(f"*{sealed.ids['several']}*"))
    import_export(host, tmp_path / A)
    ((emptied,),) = [
        (when,)
        for identifier, when in rows(host, messages.c.id, messages.c.emptied_at)
        if identifier == sealed.ids["several"]
    ]
    assert emptied == sqlite_world.clock.now - 1


def test_only_what_is_outside_is_found_by_search(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    both(sqlite_world, host, tmp_path)
    for agent in (sqlite_world.a.agent, host):
        (found,) = search.find(agent.database, ALICE, "one", limit=9)
        assert found.item == sealed.ids["one"]
        for word in ("lamplighter", "viaduct"):
            for owner in (ALICE, BOB):
                assert not search.find(agent.database, owner, word, limit=9)


def test_a_sealed_copy_is_kept_octet_by_octet(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    both(sqlite_world, host, tmp_path)
    (notice,) = [one for one in notices(host, str(BOB)) if one.url.endswith(sealed.ids["several"])]
    copy = kept_copy(host.database, notice.identifier)
    assert copy is not None
    assert copy == kept_copy(sqlite_world.b.agent.database, notice.identifier)
    assert copy[0] == fetched(sqlite_world, notice)
    file = tmp_path / B / str(BOB) / "sealed" / f"{notice.identifier}.age"
    assert file.read_bytes() == copy[0]
    assert opened(copy[0], sealed.keys["bob"]).endswith(b"x")


def test_a_mail_program_shows_where_a_sealed_message_is(
    sqlite_world: World, sealed: Sealed, tmp_path: Path
):
    export(sqlite_world.a.agent, A, tmp_path / A)
    export(sqlite_world.b.agent, B, tmp_path / B)
    there = tmp_path / A / str(ALICE)
    shown = {one["Message-ID"]: one for one in mailbox.Maildir(there / "sent", create=False)}
    several = shown["<several@a.example>"]
    assert several["From"] == "alice@a.example"
    assert several.get_content_type() == "text/plain"
    words = several.get_payload()
    for name in (sealed.ids["several"], f"{sealed.ids['several']}-1"):
        assert f"sealed/{name}.age" in words
        assert (there / "sealed" / f"{name}.age").is_file()
    assert b"viaduct" not in b"".join(
        path.read_bytes() for path in there.rglob("*") if path.is_file()
    )
    (copy,) = [
        one
        for one in mailbox.Maildir(tmp_path / B / str(BOB) / "mailbox", create=False)
        if one["Message-ID"] == "<several@a.example>"
    ]
    assert "age -d -i KEYS sealed/" in copy.as_string()
    assert "It is sealed: age -d -i KEYS opens what is there." in copy.as_string()
    with_both = [one for one in shown.values() if one["Subject"] == "hello"]
    assert str(with_both[0].get_payload()).split() == ["Dear", "Bob"], (
        "what is in the clear is as it was"
    )


def test_each_form_is_a_file_that_its_key_opens(
    sqlite_world: World, sealed: Sealed, tmp_path: Path
):
    export(sqlite_world.a.agent, A, tmp_path / A)
    files = sorted((tmp_path / A / str(ALICE) / "sealed").glob(f"{sealed.ids['several']}*"))
    assert [file.name.removeprefix(sealed.ids["several"]) for file in files] == [
        "-1.age", "-2.age", "-3.age", ".age",
    ]  # fmt: skip
    assert {file.read_bytes() for file in files} == {
        by_code(sqlite_world, sqlite_world.a.agent, f"{name}@b.example")[sealed.ids["several"]]
        for name in NAMES
    }


def test_keys_come_along(sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent):
    both(sqlite_world, host, tmp_path)
    a, b = sqlite_world.a.agent.database, sqlite_world.b.agent.database
    assert sealing_keys.recipients_of(host.database, BOB) == (sealed.keys["bob"].recipient,)
    assert openpgp_keys.get(host.database, BOB) == openpgp_keys.get(b, BOB)
    assert openpgp_keys.get(host.database, BOB) is not None
    assert recipient_keys.known(host.database, ALICE) == recipient_keys.known(a, ALICE)
    assert len(recipient_keys.known(host.database, ALICE)) == 4
    assert held_keys.unlock(host.database, BOB, PASSWORD) == (sealed.keys["bob"],)


def test_what_was_found_in_sealed_messages_is_found_there_too(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    both(sqlite_world, host, tmp_path)
    (notice,) = [one for one in notices(host, str(BOB)) if one.url.endswith(sealed.ids["several"])]
    bob, emil = sealed.keys["bob"], sealed.keys["emil"]
    (hit,) = sealed_extracts.find(host.database, BOB, [bob], "viaduct", limit=9)
    assert hit.item == notice.identifier
    inside = sealed_extracts.insides(host.database, [bob], [notice.identifier])
    assert inside[notice.identifier].subject == "the lamplighter"
    assert not sealed_extracts.find(host.database, BOB, [emil], "viaduct", limit=9)


def test_a_key_that_is_published_here_is_not_joined_by_one_that_was_taken_back(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent
):
    export(sqlite_world.b.agent, B, tmp_path / B)
    import_export(host, tmp_path / B)
    newer = new_key(host, str(BOB))
    import_export(host, tmp_path / B)
    assert sealing_keys.recipients_of(host.database, BOB) == (newer.recipient,)


def test_who_has_nothing_but_keys_is_exported(sqlite_world: World, tmp_path: Path, host: Agent):
    database = sqlite_world.b.agent.database
    seals, holds = (Endpoint.parse(f"{name}@b.example") for name in ("seals", "holds"))
    new_key(sqlite_world.b.agent, str(seals))
    held_keys.give(database, holds, Identity.generate(), PASSWORD, 1.0)
    for one in (seals, holds):
        export(sqlite_world.b.agent, str(one), tmp_path / str(one))
        import_export(host, tmp_path / str(one))
    assert sealing_keys.recipients_of(host.database, seals)
    assert held_keys.has_any(host.database, holds)


def test_a_large_sealed_message_is_never_whole_in_memory(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    sign(sqlite_world)
    new_key(sqlite_world.b.agent, str(BOB))
    sent(sqlite_world, MESSAGE + b"x" * (32 << 20), "?seal=always")
    tracemalloc.start()
    try:
        export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
        import_export(host, tmp_path / "alice")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_an_anonymous_message_that_its_author_has_sealed_comes_along(
    sqlite_world: World, tmp_path: Path
):
    domain = sqlite_world.a.agent.settings.domains[A]
    object.__setattr__(domain, "anonymous", True)
    outer = b"To: bob@b.example\r\nSubject: a hint\r\nContent-Type: application/age\r\n\r\n"
    for message in (outer + b"age-encryption.org/v1\n", b"To: bob@b.example\r\n\r\nx\r\n"):
        assert sqlite_world.inject(message).status_int == 201
    export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
    url = f"sqlite:///{tmp_path}/new.db"
    with new_host(sqlite_world, tmp_path, url) as new:
        object.__setattr__(new.settings.domains[A], "anonymous", True)
        import_export(new, tmp_path / "alice")
        assert kept(new)["message"] == kept(sqlite_world.a.agent)["message"]


def test_an_export_is_of_one_moment_in_all_forms_of_a_message(
    sqlite_world: World, sealed: Sealed, tmp_path: Path, host: Agent, monkeypatch: Any
):
    expected = kept(sqlite_world.a.agent)
    added = MaildirWriter.add

    def add(self: MaildirWriter, identifier: str, *arguments: Any) -> Any:
        outbox.withdraw(sqlite_world.a.agent.database, identifier, sqlite_world.clock.now)
        return added(self, identifier, *arguments)

    monkeypatch.setattr(MaildirWriter, "add", add)
    export(sqlite_world.a.agent, A, tmp_path / A)
    monkeypatch.undo()
    import_export(host, tmp_path / A)
    assert kept(host)["message"] == expected["message"]
    assert kept(host)["message_representation"] == expected["message_representation"]


def older(directory: Path) -> None:
    """Makes an export one of the version before sealing: without its fields and files."""
    for path in directory.rglob("settings.json"):
        settings = json.loads(path.read_text())
        for name in ("sealing_keys", "openpgp_keys", "known_sealing_keys", "held_keys"):
            del settings[name]
        path.write_text(json.dumps(settings))
    for name, field in (("sent.jsonl", "sealed"), ("recipients.jsonl", "representation")):
        for path in directory.rglob(name):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            for line in lines:
                del line[field]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in directory.rglob("export.json"):
        manifest = json.loads(path.read_text())
        for name in ("representations.jsonl", "extracts.jsonl"):
            manifest["files"].pop(name, None)
        path.write_text(json.dumps(manifest))
    for name in ("representations.jsonl", "extracts.jsonl"):
        for path in directory.rglob(name):
            path.unlink()
    for path in directory.rglob("sealed"):
        shutil.rmtree(path)
    seal(directory)


def test_an_export_of_an_older_version_is_taken(sqlite_world: World, tmp_path: Path, host: Agent):
    fill(sqlite_world)
    for agent, domain in ((sqlite_world.a.agent, A), (sqlite_world.b.agent, B)):
        export(agent, domain, tmp_path / domain)
        older(tmp_path / domain)
        import_export(host, tmp_path / domain)
    there = kept(sqlite_world.a.agent, sqlite_world.b.agent)
    here = kept(host)
    for form in CARRIED:
        assert here[form.table.name] == there[form.table.name], form.table.name
    assert sent(sqlite_world, MESSAGE, "")
    assert (
        call(at(host), "/in/box/bob@b.example", authorization=basic(str(BOB), "builder")).status_int
        == 200
    )
