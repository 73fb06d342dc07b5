"""xhmtp export and import: nothing is lost or told twice, and other programs read the files."""

import email.policy
import mailbox
import os
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from tests.conftest import new_postgresql_database
from tests.documents import ROOT
from tests.transfer_world import (
    at,
    everything,
    fill,
    kept,
    new_host,
    notify,
    sent,
    told,
)
from tests.world import ALICE, BOB, MESSAGE, World, basic, call, make_world
from xhmtp_wsgi import search
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.embedded import embedded_commands
from xhmtp_wsgi.errors import Duplicate, Forbidden, Malformed, NotFound, SettingsError, StorageFull
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import filters, inbox
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.kept_copies import kept as kept_copy
from xhmtp_wsgi.recipient.mailbox import Wanted, delete, listed
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender import drafts, outbox, queue
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.tables import deliveries, messages, usage
from xhmtp_wsgi.transfer import exporting
from xhmtp_wsgi.transfer.carried import CARRIED, LEFT_BEHIND
from xhmtp_wsgi.transfer.exporting import export
from xhmtp_wsgi.transfer.importing import ImportReport, import_export
from xhmtp_wsgi.transfer.maildir import MaildirWriter
from xhmtp_wsgi.transfer.notice_message import as_message

Move: TypeAlias = tuple[World, Agent]
"""A world with something of everything, and a new host with an empty database."""


@pytest.fixture(params=["sqlite to sqlite", "sqlite to postgresql", "postgresql to sqlite"])
def move(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Move]:
    """Between both kinds of database."""
    there, _, here = request.param.partition(" to ")
    with ExitStack() as databases:

        def url(kind: str, name: str) -> str:
            if kind == "sqlite":
                return f"sqlite:///{tmp_path}/{name}.db"
            server = request.getfixturevalue("postgresql")
            return databases.enter_context(contextmanager(new_postgresql_database)(server))

        with make_world(tmp_path, url(there, "first")) as world:
            fill(world)
            with new_host(world, tmp_path, url(here, "second")) as agent:
                yield world, agent


@pytest.fixture
def sqlite_move(sqlite_world: World, host: Agent) -> Move:
    """On SQLite alone."""
    fill(sqlite_world)
    return sqlite_world, host


@pytest.fixture
def host(sqlite_world: World, tmp_path: Path) -> Iterator[Agent]:
    """A new host beside the world on SQLite."""
    with new_host(sqlite_world, tmp_path, f"sqlite:///{tmp_path}/new.db") as agent:
        yield agent


def both(world: World, agent: Agent, directory: Path, name: str = "") -> list[ImportReport]:
    """Moves both domains to a host."""
    reports = []
    for one, domain in ((world.a.agent, "a.example"), (world.b.agent, "b.example")):
        export(one, domain, directory / f"{domain}{name}")
        reports.append(import_export(agent, directory / f"{domain}{name}"))
    return reports


def rows(agent: Agent, *columns: Any) -> list[tuple[Any, ...]]:
    with agent.database.reading() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(*columns))]


def feed(agent: Agent, password: str = "builder", **headers: str) -> Any:
    return call(at(agent), "/in/box/bob@b.example", headers=headers,
                authorization=basic("bob@b.example", password))  # fmt: skip


def guids(answer: Any) -> list[str]:
    assert answer.status_int == 200, answer.body
    return [item["id"] for item in answer.json["items"]]


JSON_FEED = {"Accept": "application/feed+json"}


def test_what_is_imported_is_what_was_exported_to_every_row(move: Move, tmp_path: Path):
    world, new = move
    shared = not world.a.agent.database.is_sqlite
    old = [world.a.agent] if shared else [world.a.agent, world.b.agent]
    before = kept(*old)
    assert {row["state"] for row in before["delivery"]} == {
        "queued", "deferred", "notified", "fetched", "refused", "expired", "withdrawn",
    }  # fmt: skip
    # Something of everything; what is sealed is in tests/test_transfer_sealed.py.
    assert {name for name, rows in before.items() if not rows} == {
        "message_representation", "sealing_key", "openpgp_key", "known_sealing_key", "held_key",
        "sealed_extract",
    }  # fmt: skip
    both(world, new, tmp_path)
    assert kept(*old) == before, "an export changes nothing"
    assert kept(new) == before
    assert rows(new, *usage.c) == rows(world.a.agent, *usage.c)


def test_the_same_again_changes_nothing(move: Move, tmp_path: Path):
    world, new = move
    both(world, new, tmp_path)
    before = everything(new)
    for domain in ("a.example", "b.example"):
        report = import_export(new, tmp_path / domain)
        for one in report.imported:
            assert (one.sent.added, one.sent.changed, one.notices.added) == (0, 0, 0)
        assert not report.new_keys
    assert everything(new) == before
    assert sum(one.notices.known for one in report.imported) == 4, "b.example's"


def test_the_feed_keeps_its_guids_and_its_order(sqlite_move: Move, tmp_path: Path):
    world, new = sqlite_move
    before = guids(world.feed(headers=JSON_FEED))
    assert len(before) == 3
    assert len(inbox.quarantined(world.b.agent.database, BOB)) == 1
    both(world, new, tmp_path)
    assert guids(feed(new, **JSON_FEED)) == before
    (kept_out,) = inbox.quarantined(new.database, BOB)
    inbox.release(new.database, BOB, kept_out.identifier, world.clock.now)
    sent(world, "later")
    world.network.hosts["server.b.example"] = at(new)
    world.clock.now += 100_000
    world.notify()
    assert guids(feed(new, **JSON_FEED))[-4:] == [
        f"tag:b.example,2026:notice/{kept_out.identifier}", *before,
    ]  # fmt: skip


def test_codes_passwords_and_tokens_go_on_working(sqlite_move: Move, tmp_path: Path):
    world, new = sqlite_move
    token = world.b.agent.accounts.add_token(BOB, "phone")
    both(world, new, tmp_path)
    assert guids(feed(new, token, **JSON_FEED)) == guids(feed(new, "builder", **JSON_FEED))
    opened = []
    for notice in inbox.page(new.database, BOB, newest=9, limit=9):
        url = MessageURL.parse(notice.url)
        there, here = (
            call(one, url.path, authorization=basic("bob@b.example", url.code))
            for one in (world.a, at(new))
        )
        assert (here.status_int, here.body) == (there.status_int, there.body)
        opened.append(here.status_int)
    assert sorted(opened) == [200, 200, 410], "what was withdrawn is withdrawn"
    mine = call(at(new), "/xhmtp/alice/", authorization=basic("alice@a.example", "wonderland"))
    assert len(mine.json["messages"]) == 8


def test_a_report_that_alices_inbox_leads_to_comes_along(sqlite_move: Move, tmp_path: Path):
    world, new = sqlite_move
    both(world, new, tmp_path)
    (notice,) = inbox.page(new.database, ALICE, newest=9, limit=9)
    url = MessageURL.parse(notice.url)
    found = call(at(new), url.path, authorization=basic("alice@a.example", url.code))
    assert found.status_int == 200
    assert b"multipart/report" in found.body


def test_the_new_host_tells_all_who_wait_and_the_old_one_nobody(move: Move, tmp_path: Path):
    world, new = move
    report = export(world.a.agent, "a.example", tmp_path / "a", hand_over=True)
    assert report.handed_over == 4
    (taken,) = import_export(new, tmp_path / "a").imported
    assert taken.sent.waiting == 4
    world.clock.now += 100_000
    posted = len(world.network.posts)
    assert world.notify().tried == 0
    assert len(world.network.posts) == posted, "the old one is silent"
    world.network.hosts["server.a.example"] = at(new)
    before = {identifier for _, identifier in told(world.b.agent)}
    Notifier(new).run_pass()
    identifiers = [identifier for _, identifier in told(world.b.agent)]
    assert len(identifiers) == len(set(identifiers)) == len(before) + 2
    # Told twice does no harm: to the receiver it is the same URL.
    import_export(world.a.agent, tmp_path / "a")
    world.clock.now += 100_000
    world.notify()
    assert [identifier for _, identifier in told(world.b.agent)] == identifiers


def test_what_was_handed_over_can_be_given_back(sqlite_world: World, tmp_path: Path):
    a = sqlite_world.a.agent
    identifier = sent(sqlite_world, "hello")
    export(a, str(ALICE), tmp_path / "alice", hand_over=True)
    assert sqlite_world.notify().tried == 0
    (status,) = outbox.statuses(a.database, identifier)
    assert "another host" in (status.last_answer or "")
    export(a, str(ALICE), tmp_path / "again", hand_over=True)
    (taken,) = import_export(a, tmp_path / "again").imported
    assert (taken.sent.waiting, taken.sent.changed) == (1, 0)
    (status,) = outbox.statuses(a.database, identifier)
    assert status.last_answer is None
    assert sqlite_world.notify().notified == 1


def test_nothing_is_handed_over_while_a_notifier_is_at_work(sqlite_world: World, tmp_path: Path):
    a = sqlite_world.a.agent
    sent(sqlite_world, "hello")
    terms = Notifier(a)._terms
    now = sqlite_world.clock.now
    queue.claim(a.database, {"b.example": 1}, now=now, due_by=now, terms=terms)
    before = everything(a)
    with pytest.raises(Forbidden, match="xhmtp-notify is at work"):
        export(a, str(ALICE), tmp_path / "alice", hand_over=True)
    assert everything(a) == before
    assert not list(tmp_path.glob("*alice*"))
    sqlite_world.clock.now += 301
    assert export(a, str(ALICE), tmp_path / "alice", hand_over=True).handed_over == 1


def test_what_came_to_the_old_host_meanwhile_is_brought_by_a_second_export(
    move: Move, tmp_path: Path
):
    """The old host is still asked by those who have its address: that is not lost."""
    world, new = move
    export(world.a.agent, "a.example", tmp_path / "a1", hand_over=True)
    import_export(new, tmp_path / "a1")
    export(world.b.agent, "b.example", tmp_path / "b1")
    import_export(new, tmp_path / "b1")
    for_bob = {identifier for _, identifier in told(world.b.agent)}
    taken_back = next(
        message
        for message, state in rows(new, deliveries.c.message, deliveries.c.state)
        if state == "notified" and message in for_bob
    )
    outbox.withdraw(world.a.agent.database, taken_back, world.clock.now)
    late = sent(world, "late")
    world.clock.now += 1000
    world.notify()
    assert told(world.b.agent)[0][1] == late
    report = export(world.a.agent, "a.example", tmp_path / "a2", hand_over=True)
    (alice,) = import_export(new, tmp_path / "a2").imported
    assert (alice.sent.added, alice.sent.changed) == (1, 1)
    assert report.handed_over == 4, "those that were handed over before"
    taken = import_export_of(world.b.agent, new, "b.example", tmp_path / "b2")
    bob = next(one for one in taken if one.owner == BOB)
    assert (bob.notices.added, bob.notices.known) == (1, 4)
    assert told(new) == told(world.b.agent)
    found = outbox.find(new.database, taken_back)
    assert found is not None
    assert found.withdrawn_at == world.clock.now - 1000
    assert {row[0] for row in rows(new, deliveries.c.state)} >= {"notified", "withdrawn"}


def import_export_of(old: Agent, new: Agent, what: str, directory: Path) -> Any:
    export(old, what, directory)
    return import_export(new, directory).imported


def test_who_was_told_elsewhere_since_is_not_told_again(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    identifier = sent(sqlite_world, "hello")
    import_export_of(sqlite_world.a.agent, host, str(ALICE), tmp_path / "one")
    sqlite_world.notify()
    (taken,) = import_export_of(sqlite_world.a.agent, host, str(ALICE), tmp_path / "two")
    assert (taken.sent.changed, taken.sent.waiting) == (1, 0)
    posted = len(sqlite_world.network.posts)
    assert notify(host) == 0
    assert len(sqlite_world.network.posts) == posted
    ((_, url),) = [(one.identifier, MessageURL.parse(one.url)) for one in
                   inbox.page(sqlite_world.b.agent.database, BOB, newest=1, limit=1)]  # fmt: skip
    call(sqlite_world.a, url.path, authorization=basic("bob@b.example", url.code))
    import_export_of(sqlite_world.a.agent, host, str(ALICE), tmp_path / "three")
    (status,) = outbox.statuses(host.database, identifier)
    assert (status.state, status.fetched_at) == ("fetched", sqlite_world.clock.now)
    # The other way round, what is old changes nothing that is further here.
    before = everything(host)
    import_export(host, tmp_path / "one")
    assert everything(host) == before


def test_what_was_handed_in_at_both_hosts_is_told_once(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    """As by a program that got no answer from the old host, and asks the new one."""
    world, a = sqlite_world, sqlite_world.a.agent
    text = MESSAGE.replace(b"\r\n\r\n", b"\r\nMessage-ID: <one@a.example>\r\n\r\n", 1)
    assert world.inject(text).status_int == 201
    host.accounts.add(ALICE, "wonderland")
    host.accounts.add(BOB, None)
    assert call(at(host), "/xhmtp/alice/", method="POST", body=text, content_type="message/rfc822",
                authorization=basic("alice@a.example", "wonderland")).status_int == 201  # fmt: skip
    (taken,) = import_export_of(a, host, str(ALICE), tmp_path / "one")
    assert (taken.sent.added, taken.sent.known, taken.sent.waiting) == (0, 1, 0)
    # Where the first one was told all the same, its links must go on working.
    world.notify()
    (taken,) = import_export_of(a, host, str(ALICE), tmp_path / "two")
    assert taken.sent.added == 1
    (notice,) = inbox.page(world.b.agent.database, BOB, newest=1, limit=1)
    url = MessageURL.parse(notice.url)
    opened = call(at(host), url.path, authorization=basic("bob@b.example", url.code))
    assert opened.status_int == 200
    before = everything(host)
    import_export_of(host, host, str(ALICE), tmp_path / "three")
    assert everything(host) == before


def test_what_is_missing_in_a_mailbox_comes_as_its_newest(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    """As where bob's account was removed, and the first messages have come to his new one."""
    for number in range(3):
        sent(sqlite_world, f"old {number}")
    sqlite_world.notify()
    old = guids(sqlite_world.feed(headers=JSON_FEED))
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    host.accounts.add(BOB, "builder")
    sqlite_world.network.hosts["server.b.example"] = at(host)
    sent(sqlite_world, "new")
    sqlite_world.notify()
    new = guids(feed(host, **JSON_FEED))
    seen = feed(host, **JSON_FEED).headers["ETag"]
    import_export(host, tmp_path / "bob")
    answer = feed(host, **{"If-None-Match": seen}, **JSON_FEED)
    assert guids(answer) == [*old, *new], "and no reader skips one"


def test_after_a_restore_a_reader_is_not_told_that_nothing_has_changed(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    sent(sqlite_world, "one")
    sqlite_world.notify()
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    sent(sqlite_world, "lost with the disk")
    sqlite_world.notify()
    seen = sqlite_world.feed(headers=JSON_FEED).headers["ETag"]
    import_export(host, tmp_path / "bob")
    sqlite_world.network.hosts["server.b.example"] = at(host)
    late = sent(sqlite_world, "after the restore")
    sqlite_world.notify()
    assert len(told(host)) == 2, "as many as the reader knows of"
    answer = feed(host, **{"If-None-Match": seen}, **JSON_FEED)
    assert answer.status_int == 200
    assert told(host)[0] == (guids(answer)[0].rpartition("/")[2], late)


def test_an_export_is_of_one_moment(database_url: str, tmp_path: Path, monkeypatch: Any):
    with make_world(tmp_path, database_url) as world:
        fill(world)
        expected = kept(world.a.agent)
        bodies = {row[0]: row[1] for row in rows(world.a.agent, messages.c.id, messages.c.size)}
        added = MaildirWriter.add

        def add(self: MaildirWriter, identifier: str, *arguments: Any, **options: Any) -> None:
            sent(world, f"meanwhile {identifier}")
            outbox.withdraw(world.a.agent.database, identifier, world.clock.now)
            added(self, identifier, *arguments, **options)

        monkeypatch.setattr(MaildirWriter, "add", add)
        report = export(world.a.agent, "a.example", tmp_path / "a")
        monkeypatch.undo()
        assert kept(world.a.agent) != expected, "the agent went on"
        with new_host(world, tmp_path, f"sqlite:///{tmp_path}/new.db") as new:
            import_export(new, tmp_path / "a")
            mine = kept(new)
            assert mine["message"] == expected["message"]
            assert mine["delivery"] == expected["delivery"]
        assert report.exported[0].messages == len(bodies)


def test_an_export_that_broke_off_leaves_nothing(
    sqlite_world: World, tmp_path: Path, monkeypatch: Any
):
    fill(sqlite_world)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_lines", full)
        with pytest.raises(StorageFull):
            export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
    assert not list(tmp_path.glob("*alice*"))
    assert not list(tmp_path.glob(".alice*"))


@pytest.mark.parametrize("call", ["mkdir", "utime", "sync"])
def test_an_export_that_is_killed_never_looks_whole(sqlite_world: World, tmp_path: Path, call: str):
    fill(sqlite_world)
    child = os.fork()
    if child == 0:
        setattr(Path if call == "mkdir" else os, call, lambda *_, **__: os.kill(os.getpid(), 9))
        try:
            export(sqlite_world.a.agent, "a.example", tmp_path / "a")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert not (tmp_path / "a").exists()
    (left,) = tmp_path.glob(".a.*")
    if call != "sync":
        with pytest.raises(NotFound):
            import_export(sqlite_world.a.agent, left)


def test_an_export_is_never_written_over_another(sqlite_world: World, tmp_path: Path):
    export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("alice", "link"):
        with pytest.raises(Duplicate, match="there already"):
            export(sqlite_world.a.agent, str(ALICE), tmp_path / name)


def test_only_its_owner_can_read_an_export(sqlite_world: World, tmp_path: Path):
    fill(sqlite_world)
    before = os.umask(0)
    try:
        export(sqlite_world.b.agent, "b.example", tmp_path / "b")
    finally:
        os.umask(before)
    found = [tmp_path / "b", *(tmp_path / "b").rglob("*")]
    assert len(found) > 20
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_nobodys_export_is_refused(sqlite_world: World, tmp_path: Path):
    for what in ("nobody@a.example", "c.example"):
        with pytest.raises(NotFound, match="nothing is kept"):
            export(sqlite_world.a.agent, what, tmp_path / "nothing")
    assert not list(tmp_path.glob("*nothing*"))


def parsed(path: Path) -> list[EmailMessage]:
    maildir = mailbox.Maildir(path, create=False)
    parser = BytesParser(policy=email.policy.default)
    return [parser.parsebytes(maildir.get_bytes(key)) for key in sorted(maildir.keys())]


def test_what_was_sent_is_a_maildir_of_the_stored_octets(sqlite_world: World, tmp_path: Path):
    text = MESSAGE.replace(b"hello", "Grüße".encode()) + b"\x00\xff\r\nFrom here\r\n" * 40_000
    assert sqlite_world.inject(text).status_int == 201
    export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
    (file,) = (tmp_path / "alice" / "sent" / "cur").iterdir()
    (identifier,) = [row[0] for row in rows(sqlite_world.a.agent, messages.c.id)]
    size = len(file.read_bytes())
    stored = b"".join(outbox.octets(sqlite_world.a.agent.database, identifier, 0, size))
    assert file.read_bytes() == stored
    assert file.stat().st_mtime == sqlite_world.clock.now
    (message,) = parsed(tmp_path / "alice" / "sent")
    assert message["Subject"] == "Grüße"
    maildir = mailbox.Maildir(tmp_path / "alice" / "sent", create=False)
    assert [one.get_flags() for one in maildir] == ["S"]


def test_a_notice_is_a_message_that_says_where_its_body_is(sqlite_world: World, tmp_path: Path):
    sent(sqlite_world, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    filters.add(sqlite_world.b.agent.database, str(BOB), Action.QUARANTINE, "*", "subject", "kept*")
    sent(sqlite_world, "kept out")
    sqlite_world.notify()
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    (message,) = parsed(tmp_path / "bob" / "mailbox")
    (notice,) = inbox.page(sqlite_world.b.agent.database, BOB, newest=1, limit=1)
    assert (message["From"], message["Subject"]) == ("alice@a.example", "Grüße")
    words, outside = message.iter_parts()
    assert notice.url in words.get_content()
    assert "origin: pass" in words.get_content()
    assert outside.get_content_type() == "message/external-body"
    parameters = dict(outside.get_params())  # type: ignore[arg-type]
    assert parameters["access-type"] == "URL"
    assert parameters["url"] == notice.url
    assert parameters["size"] == str(notice.size)
    (inner,) = outside.iter_parts()
    assert inner.get_content_type() == "message/rfc822"
    (kept_out,) = parsed(tmp_path / "bob" / "quarantine")
    assert kept_out["Subject"] == "kept out"


def test_a_kept_copy_is_the_message_itself_in_its_folder(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    identifier = fill(sqlite_world)["fetched"]
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    import_export(host, tmp_path / "bob")
    (notice,) = listed(host.database, BOB, Wanted("Work.Ünder way"), limit=9)
    assert notice.url.endswith(identifier)
    copy = kept_copy(host.database, notice.identifier)
    assert copy is not None
    assert copy == kept_copy(sqlite_world.b.agent.database, notice.identifier)
    (file,) = (tmp_path / "bob" / "mailbox").rglob(f"*{notice.identifier}*")
    assert file.read_bytes() == copy[0]
    maildir = mailbox.Maildir(tmp_path / "bob" / "mailbox", create=False)
    assert maildir.list_folders() == ["Work_Ünder way"]
    (message,) = maildir.get_folder("Work_Ünder way")
    assert (message.get_flags(), message["Subject"]) == ("FS", "kept")


def test_what_was_deleted_stays_deleted_and_does_not_come_again(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    sent(sqlite_world, "hello")
    sqlite_world.notify()
    ((identifier, _),) = told(sqlite_world.b.agent)
    url = inbox.page(sqlite_world.b.agent.database, BOB, newest=1, limit=1)[0].url
    delete(sqlite_world.b.agent.database, BOB, [identifier], sqlite_world.clock.now)
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    assert not list((tmp_path / "bob" / "mailbox").rglob(f"*{identifier}*"))
    import_export(host, tmp_path / "bob")
    # The sender is not sure, and tells it once more.
    again = call(at(host), "/in/box/bob@b.example", method="POST", body=urlencode({"url": url,
                 "headers": "Subject: hello"}).encode(), address="192.0.2.1",
                 content_type="application/x-www-form-urlencoded")  # fmt: skip
    assert again.status_int == 200
    assert told(host) == []


def test_search_and_drafts_are_there_too(sqlite_move: Move, tmp_path: Path):
    world, new = sqlite_move
    both(world, new, tmp_path)
    assert [hit.kind for hit in search.find(new.database, ALICE, "deferred", limit=9)] == ["sent"]
    found = search.find(new.database, BOB, "notified", limit=9)
    assert [hit.kind for hit in found] == ["notice"]
    (draft,) = drafts.listed(new.database, BOB)
    draft = drafts.find(new.database, BOB, draft.identifier)
    assert (draft.fields.subject, draft.fields.text) == ("Grüße", "Dear")
    octets = drafts.octets_of(new.database, draft.attachments)
    assert list(octets.values()) == [bytes(range(256)) * 10]
    file = tmp_path / "b.example" / str(BOB) / "attachments" / draft.attachments[0].identifier
    assert file.read_bytes() == bytes(range(256)) * 10


def test_a_long_url_is_folded_as_rfc_2017_has_it():
    url = "http://bob%40b.example:code@server.a.example/" + "x" * 1900
    notice: dict[str, Any] = {
        "id": "a" * 26,
        "url": url,
        "size": None,
        "checks": [],
        "received_at": 0.0,
    }
    octets = as_message(b"Subject: x\r\n", notice, "b.example")
    assert max(map(len, octets.split(b"\n")[: octets.index(b"\n\nhttp")])) > 998, "in the words"
    outside = octets[octets.index(b"external-body") :]
    assert max(map(len, outside.split(b"\n"))) < 100
    message = BytesParser(policy=email.policy.compat32).parsebytes(octets)
    found = message.get_payload()[1].get_param("URL")  # type: ignore[index,union-attr]
    assert "".join(str(found).split()) == url
    assert message["Date"] == "Thu, 01 Jan 1970 00:00:00 -0000", "when it came, as it says none"


def test_a_mail_program_may_mark_and_move_what_was_sent(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    for subject in ("read", "answered"):
        sent(sqlite_world, subject)
    export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
    maildir = tmp_path / "alice" / "sent"
    first, second = (maildir / "cur").iterdir()
    first.rename(first.with_name(first.name.replace(":2,S", ":2,FRS")))
    second.rename(maildir / "new" / second.name.partition(":")[0])
    assert import_export(host, tmp_path / "alice").imported[0].sent.added == 2


def test_a_large_message_is_never_whole_in_memory(sqlite_world: World, tmp_path: Path, host: Agent):
    sent(sqlite_world, "large", body=b"x" * (48 << 20))
    tracemalloc.start()
    try:
        export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
        import_export(host, tmp_path / "alice")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_a_token_that_was_revoked_here_does_not_come_back(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    token = sqlite_world.b.agent.accounts.add_token(BOB, "lost phone")
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    import_export(host, tmp_path / "bob")
    host.accounts.revoke_token(BOB, host.accounts.tokens(BOB)[0].id)
    host.accounts.set_password(BOB, "another")
    import_export(host, tmp_path / "bob")
    assert feed(host, token).status_int == 401
    assert feed(host, "another").status_int == 200


def test_an_account_made_by_hand_keeps_its_password_and_gets_the_tokens(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    token = sqlite_world.b.agent.accounts.add_token(BOB, "phone")
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    sqlite_world.clock.now += 60
    host.accounts.add(BOB, "made by hand")
    (one,) = import_export(host, tmp_path / "bob").imported
    assert "keeps its password" in one.account
    assert [feed(host, given).status_int for given in ("made by hand", token, "builder")] == [
        200, 200, 401,
    ]  # fmt: skip


def test_what_was_written_in_the_name_of_an_alias_is_taken(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    a = sqlite_world.a.agent
    a.addressing.add(Endpoint.parse("office@a.example"), ALICE, sqlite_world.clock.now,
                     may_send=True)  # fmt: skip
    for name in ("office", "alice+tag"):
        text = MESSAGE.replace(b"alice@", name.encode() + b"@")
        assert sqlite_world.inject(text).status_int == 201
    export(a, str(ALICE), tmp_path / "alice")
    export(a, "a.example", tmp_path / "a")
    with pytest.raises(Malformed, match="nor an alias here"):
        import_export(host, tmp_path / "alice")
    import_export(host, tmp_path / "a")
    sqlite_world.network.hosts["server.a.example"] = at(host)
    assert notify(host) == 2


def test_anonymous_messages_stay_so(sqlite_world: World, tmp_path: Path):
    domain = sqlite_world.a.agent.settings.domains["a.example"]
    object.__setattr__(domain, "anonymous", True)
    answer = sqlite_world.inject(b"To: bob@b.example\r\nSubject: a hint\r\n\r\nx\r\n")
    assert answer.status_int == 201
    export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
    url = f"sqlite:///{tmp_path}/new.db"
    with new_host(sqlite_world, tmp_path, url) as new:
        with pytest.raises(SettingsError, match=r'domain."a.example".anonymous'):
            import_export(new, tmp_path / "alice")
        object.__setattr__(new.settings.domains["a.example"], "anonymous", True)
        import_export(new, tmp_path / "alice")
        sqlite_world.network.hosts["server.a.example"] = at(new)
        assert notify(new) == 1
    (notice,) = inbox.page(sqlite_world.b.agent.database, BOB, newest=1, limit=1)
    assert "alice" not in notice.url


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_message_size", 600_000), ("max_recipients", 2), ("max_storage", 600_000),
     ("max_inbox", 3)],
)  # fmt: skip
def test_what_the_settings_do_not_allow_is_named(
    sqlite_world: World, tmp_path: Path, setting: str, value: int
):
    fill(sqlite_world)
    export(sqlite_world.a.agent, "a.example", tmp_path / "a")
    export(sqlite_world.b.agent, "b.example", tmp_path / "b")
    url = f"sqlite:///{tmp_path}/new.db"
    with new_host(sqlite_world, tmp_path, url, **{setting: value}) as new:
        new.database.upgrade()
        before = everything(new)
        with pytest.raises(SettingsError, match=setting):
            for name in ("a", "b"):
                before = everything(new)
                import_export(new, tmp_path / name)
        assert everything(new) == before


def test_a_prefix_that_makes_links_dead_is_told(sqlite_world: World, tmp_path: Path, host: Agent):
    export(sqlite_world.a.agent, str(ALICE), tmp_path / "alice")
    assert import_export(host, tmp_path / "alice").elsewhere is None
    object.__setattr__(host.settings.domains["a.example"], "agent", "http://other.a.example")
    told_of = import_export(host, tmp_path / "alice").elsewhere
    assert told_of == "http://server.a.example/xhmtp"


def test_every_table_is_carried_or_left_behind():
    """Whoever adds a table says in transfer/carried.py what becomes of it in a move."""
    for file in (ROOT / "xhmtp_wsgi").rglob("*.py"):
        if "= Table(" in file.read_text():
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    carried = {form.table.name for form in CARRIED}
    assert carried | set(LEFT_BEHIND) == set(metadata.tables)
    assert not carried & set(LEFT_BEHIND)
    for form in CARRIED:
        assert form.without <= set(form.table.c.keys())


def test_every_field_is_in_the_document():
    text = (ROOT / "docs" / "moving.md").read_text()
    for form in CARRIED:
        for column in form.columns:
            assert f"`{column.name}`" in text, f"{form.table.name}.{column.name}"
    for name in LEFT_BEHIND:
        assert f"`{name}`" in text, name


def run(agent: Agent, *arguments: str) -> Result:
    return CliRunner().invoke(embedded_commands(lambda: agent), list(arguments))


def test_the_commands_say_what_they_did(sqlite_world: World, tmp_path: Path, host: Agent):
    fill(sqlite_world)
    out = tmp_path / "a"
    done = run(sqlite_world.a.agent, "export", "--hand-over", "a.example", str(out))
    assert done.exit_code == 0, done.output
    assert "alice@a.example: messages sent: 9 (" in done.output
    assert "recipients whom this host tells no more: 4" in done.output
    tried = run(host, "import", "--dry-run", str(out))
    assert tried.exit_code == 0, tried.output
    assert "this was a dry run" in tried.output
    assert "the signing key k" in tried.output
    assert not host.accounts.all()
    imported = run(host, "import", str(out))
    assert imported.output + "nothing was changed: this was a dry run\n" == tried.output
    assert "recipients whom this host is to tell: 4" in imported.output
    assert host.accounts.all() == [ALICE]
    again = run(sqlite_world.a.agent, "export", "a.example", str(out))
    assert (again.exit_code, again.output.count("\n")) == (1, 1)


def test_a_domain_that_is_not_ours_names_the_setting(sqlite_world: World, tmp_path: Path):
    export(sqlite_world.b.agent, str(BOB), tmp_path / "bob")
    done = run(sqlite_world.a.agent, "import", str(tmp_path / "bob"))
    assert done.exit_code == 2
    assert 'domain."b.example": is not there' in done.output


def test_an_address_may_have_whatever_an_address_has(
    sqlite_world: World, tmp_path: Path, host: Agent
):
    odd = Endpoint.parse("o'b!#$%&*+-=?^_`{|}~.x@b.example")
    sqlite_world.b.agent.accounts.add(odd, "builder")
    export(sqlite_world.b.agent, "b.example", tmp_path / "b")
    import_export(host, tmp_path / "b")
    assert host.accounts.all() == [BOB, odd]
