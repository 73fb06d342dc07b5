"""Exports that were tampered with: one line says so, and nothing of them is taken in.

Each case edits a copy of a good export. For some, the manifest is made to fit afterwards: as a
forger would, to whom the digests are no hindrance.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transfer_world import everything, fill, kept, new_host, seal
from tests.world import make_world
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.transfer.exporting import export
from xhmtp_wsgi.transfer.importing import import_export

Record = dict[str, Any]
Edit = Callable[[Path], object]


@dataclass(frozen=True)
class Hosts:
    """A good export of a domain with everything in it, and a host that has nothing yet."""

    a: Path
    b: Path
    new: Agent
    empty: dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    directory = tmp_path_factory.mktemp("hostile")
    with make_world(directory, f"sqlite:///{directory}/a.db") as world:
        fill(world)
        export(world.a.agent, "a.example", directory / "a")
        export(world.b.agent, "b.example", directory / "b")
        with new_host(world, directory, f"sqlite:///{directory}/new.db") as new:
            new.database.upgrade()
            yield Hosts(directory / "a", directory / "b", new, everything(new))


def lines(path: Path, change: Callable[[list[Record]], object]) -> None:
    """Edits a file of JSON Lines."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    change(found)
    path.write_text("".join(json.dumps(one) + "\n" for one in found))


def whole(path: Path, change: Callable[[Record], object]) -> None:
    """Edits a JSON file."""
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


ALICE, BOB, CY = "alice@a.example", "bob@b.example", "cy@c.example"


def notice(**fields: Any) -> Edit:
    return lambda at: lines(at / BOB / "notices.jsonl", lambda all_: all_[0].update(fields))


def message(**fields: Any) -> Edit:
    """Of the message that is queued for cy, and has its octets."""

    def edit(at: Path) -> None:
        wanted = queued(at)
        path = at / ALICE / "sent.jsonl"
        lines(path, lambda all_: next(one for one in all_ if one["id"] == wanted).update(fields))

    return edit


def recipient(**fields: Any) -> Edit:
    """Of cy, who is still to be told."""
    path = f"{ALICE}/recipients.jsonl"
    return lambda at: lines(
        at / path, lambda all_: next(one for one in all_ if one["recipient"] == CY).update(fields)
    )


def queued(at: Path) -> str:
    path = at / ALICE / "recipients.jsonl"
    return next(
        str(json.loads(line)["message"]) for line in path.read_text().splitlines() if CY in line
    )


def account(**fields: Any) -> Edit:
    return lambda at: whole(at / BOB / "settings.json", lambda all_: all_["account"].update(fields))


def setting(name: str, value: Any, of: str = BOB) -> Edit:
    return lambda at: whole(at / of / "settings.json", lambda all_: all_.update({name: value}))


def domain(name: str, value: Any) -> Edit:
    return lambda at: whole(at / "domain.json", lambda all_: all_.update({name: value}))


def manifest(**fields: Any) -> Edit:
    return lambda at: whole(at / "export.json", lambda all_: all_.update(fields))


def text(name: str, old: str, new: str) -> Edit:
    def edit(at: Path) -> None:
        path = at / name
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new, 1))

    return edit


def file(at: Path) -> Path:
    """That of the queued message."""
    return next((at / ALICE / "sent" / "cur").glob(f"*{queued(at)}*"))


def octets(old: bytes, new: bytes) -> Edit:
    """Forges the queued message, its size and digest in JSON too."""

    def edit(at: Path) -> None:
        from base64 import b64encode
        from hashlib import sha256

        path = file(at)
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new, 1))
        now = path.read_bytes()
        message(size=len(now), digest=b64encode(sha256(now).digest()).decode())(at)

    return edit


def copied(**fields: Any) -> Edit:
    """Of the copy that bob keeps."""
    path = f"{BOB}/notices.jsonl"
    return lambda at: lines(
        at / path, lambda all_: next(one for one in all_ if one["kept"])["kept"].update(fields)
    )


def kept_file(at: Path) -> Path:
    return next((at / BOB / "mailbox" / ".Work_Ünder way" / "cur").iterdir())


def draft(**fields: Any) -> Edit:
    return lambda at: lines(at / BOB / "drafts.jsonl", lambda all_: all_[0].update(fields))


def attachment(**fields: Any) -> Edit:
    path = f"{BOB}/drafts.jsonl"
    return lambda at: lines(at / path, lambda all_: all_[0]["attachments"][0].update(fields))


def attached(at: Path) -> Path:
    return next((at / BOB / "attachments").iterdir())


def replaced_by_link(name: str) -> Edit:
    def edit(at: Path) -> None:
        path = at / name
        path.rename(at / "moved")
        path.symlink_to(at / "moved")

    return edit


def replaced_by_pipe(name: str) -> Edit:
    def edit(at: Path) -> None:
        (at / name).unlink()
        os.mkfifo(at / name)

    return edit


def changed_octet(name: str) -> Edit:
    def edit(at: Path) -> None:
        path = file(at) if name == "message" else at / name
        found = bytearray(path.read_bytes())
        found[len(found) // 2] ^= 1
        path.write_bytes(found)

    return edit


def cut(name: str) -> Edit:
    return lambda at: os.truncate(at / name, (at / name).stat().st_size // 2)


RULE = {"position": 1.0, "action": "refuse", "who": "*", "header": None, "pattern": None}
KEY = {"selector": "k1", "public": "A" * 43 + "=", "created_at": 1.0, "published_at": None,
       "retired_at": None}  # fmt: skip
ALIAS = {"address": "info@b.example", "target": "bob@b.example", "may_send": False,
         "created_at": 1.0}  # fmt: skip
GROUP: Record = {"title": "Team", "writers": "members",
                 "joining": "owners", "created_at": 1.0, "members": []}  # fmt: skip
BIG = 10**400

# Which domain's export, what is done to it, what is said of it; as the manifest stands.
CHANGED: dict[str, tuple[str, Edit, str]] = {
    "a message is changed": ("a", changed_octet("message"), "."),
    "a message is longer": ("a", lambda at: file(at).open("ab").write(b"x"), "digest"),
    "a message is missing": ("a", lambda at: file(at).unlink(), "missing"),
    "a message is a link": (
        "a",
        lambda at: replaced_by_link(str(file(at).relative_to(at)))(at),
        "link",
    ),
    "the notices are changed": ("b", changed_octet(f"{BOB}/notices.jsonl"), "."),
    "the notices are cut off": ("b", cut(f"{BOB}/notices.jsonl"), "."),
    "the settings are changed": ("b", changed_octet(f"{BOB}/settings.json"), "changed"),
    "the recipients are cut off": ("a", cut(f"{ALICE}/recipients.jsonl"), "."),
    "the domain's settings are changed": ("b", changed_octet("domain.json"), "changed"),
    "an address's manifest is changed": ("b", changed_octet(f"{BOB}/export.json"), "changed"),
    "the manifest is missing": ("b", lambda at: (at / "export.json").unlink(), "no export"),
    "the manifest is cut off": ("b", cut("export.json"), "no JSON"),
    "an address is missing": ("b", lambda at: shutil.rmtree(at / BOB), "No such file"),
    "the file of messages is missing": (
        "a", lambda at: (at / ALICE / "sent.jsonl").unlink(), "No such file",
    ),
    "a copy is changed": ("b", lambda at: kept_file(at).open("ab").write(b"x"), "digest differs"),
    "a copy is missing": ("b", lambda at: kept_file(at).unlink(), "missing"),
    "an attachment is changed": ("b", lambda at: attached(at).open("ab").write(b"x"), "as it was"),
    "an attachment is missing": ("b", lambda at: attached(at).unlink(), "No such file"),
    "an attachment is a link": (
        "b", lambda at: replaced_by_link(str(attached(at).relative_to(at)))(at), "link",
    ),
    "a file is a link": ("b", replaced_by_link(f"{BOB}/settings.json"), "link"),
    "a directory is a link": ("b", replaced_by_link(BOB), "not a directory"),
    "a Maildir is a link": ("a", replaced_by_link(f"{ALICE}/sent"), "not a directory"),
    "a file is a pipe": ("b", replaced_by_pipe(f"{BOB}/settings.json"), "plain file"),
    "a list is a pipe": ("b", replaced_by_pipe(f"{BOB}/notices.jsonl"), "plain file"),
    "the manifest is a pipe": ("b", replaced_by_pipe("export.json"), "plain file"),
    "it is too new": ("b", manifest(version=2), "reads the form 1"),
    "it is something else": ("b", manifest(format="mbox"), "not that of an export"),
    "it is of nobody": ("b", manifest(domain=None), "of whom"),
    "it is of no domain": ("b", manifest(domain="../b"), "export.json"),
    "an address leads elsewhere": ("b", manifest(addresses=["../x@b.example"]), "export.json"),
    "an address is a number": ("b", manifest(addresses=[7]), "export.json"),
    "an address is another domain's": ("b", manifest(addresses=[ALICE]), "not an address of"),
    "an address is there twice": ("b", manifest(addresses=[BOB, BOB]), "twice"),
    "addresses are none": ("b", manifest(addresses=7), "export.json"),
    "there are no files": ("b", manifest(files={}), "does not name"),
    "files are no list": ("b", manifest(files=[]), "which files"),
    "a file has no digest": ("b", manifest(files={"domain.json": {}}), "does not say"),
}  # fmt: skip

# The same, and the manifest is made to fit.
FORGED: dict[str, tuple[str, Edit, str]] = {
    "a forged author": ("a", octets(b"alice@a.example", b"chief@a.example"), "From is not"),
    "no author": ("a", octets(b"From: alice@a.example\r\n", b""), "no From"),
    "a forged Sender": (
        "a", octets(b"Subject:", b"Sender: chief@a.example\r\nSubject:"), "Sender is not",
    ),
    "another Message-ID": ("a", octets(b"Message-ID: <", b"Message-ID: <x"), "another"),
    "a Bcc": ("a", octets(b"Subject:", b"Bcc: x@c.example\r\nSubject:"), "as one that was stored"),
    "a header with bare line ends": ("a", octets(b"\r\nTo:", b"\nTo:"), "bare CR or LF"),
    "a header that never ends": ("a", octets(b"\r\n\r\n", b"\r\nX: y"), "max_header_size"),
    "somebody else's message": ("a", message(sender="chief@a.example"), "somebody else"),
    "a message as a report": ("a", message(is_report=True), "makes no reports"),
    "an ID that is a path": ("a", message(id="../../../../etc/passwd"), "."),
    "an alias of one who is named": ("a", message(alias="a" * 26), "alias is none"),
    "a size that is none": ("a", message(size=-1), "out of bounds"),
    "a size beyond all": ("a", message(size=BIG), "."),
    "a size that is another": ("a", message(size=5), "digest differs"),
    "a time beyond all": ("a", message(created_at=1e300), "out of bounds"),
    "a time that is none": ("a", message(created_at="now"), "not of its kind"),
    "a truth that is none": ("a", message(is_report=1), "not of its kind"),
    "a digest that is short": ("a", message(digest="AA=="), "digest none"),
    "a digest that is no base64": ("a", message(digest="%"), "base64"),
    "emptied, and yet there": ("a", message(emptied_at=1.0), "not to be there"),
    "an unknown field": ("a", message(priority=1), "not known here"),
    "a message with no recipients' own": ("a", message(id="b" * 26), "."),
    "a recipient of another message": ("a", recipient(message="b" * 26), "not there"),
    "a recipient who is none": ("a", recipient(recipient="../x"), "name@domain"),
    "a recipient written otherwise": ("a", recipient(recipient="x@C.Example"), "not written"),
    "a state that is none": ("a", recipient(state="lost"), "is none"),
    "told, with a code": ("a", recipient(state="notified", next_try_at=None), "one too many"),
    "told, and yet due": ("a", recipient(state="notified", code=None), "is none"),
    "waiting, with no code": ("a", recipient(code=None), "missing"),
    "a code that is another": ("a", recipient(code="x" * 32), "not the one of its hash"),
    "a code that breaks a line": ("a", recipient(code="x\r\ny"), "is none"),
    "a hash that is short": ("a", recipient(code_hash="AA=="), "missing"),
    "a status that is none": ("a", recipient(last_status=99999), "is none"),
    "a report that is none": ("a", recipient(report_due="x"), "is none"),
    "tries below zero": ("a", recipient(tries=-1), "out of bounds"),
    "a NUL": ("a", recipient(last_answer="a\0b"), "cannot be kept"),
    "half a character": ("a", recipient(last_answer="\ud800"), "cannot be kept"),
    "not a number": ("a", text(f"{ALICE}/sent.jsonl", '"size": ', '"size": NaN, "x": '), "no JSON"),
    "a field twice": ("a", text(f"{ALICE}/sent.jsonl", '{"id"', '{"id": "x", "id"'), "no JSON"),
    "a list in a line": ("a", text(f"{ALICE}/sent.jsonl", "{", "[{"), "no JSON"),
    "a line that is no object": ("b", text(f"{BOB}/notices.jsonl", "{", "7\n{"), "no object"),
    "a line that never ends": (
        "b", text(f"{BOB}/notices.jsonl", "{", "{" + " " * (1 << 20)), "changed or cut off",
    ),
    "nested without end": ("b", text(f"{BOB}/notices.jsonl", "{", "[" * 100_000), "no JSON"),
    "a link that is a script": ("b", notice(url="javascript:alert(1)"), "message URL"),
    "a link without a code": ("b", notice(url="http://server.a.example/x"), "message URL"),
    "a link that leads to a file": ("b", notice(url="file:///etc/passwd"), "message URL"),
    "a link written otherwise": ("b", notice(url="http://b%40b.example:x@H.example/x"), "as URLs"),
    "a notice without an ID": ("b", notice(id="<script>"), "no ID"),
    "a notice without a number": ("b", notice(position=0), "no number"),
    "a notice beyond the last": ("b", notice(position=10**9), "order"),
    "a header field of ours": ("b", notice(headers="U2V0LUNvb2tpZTogeA0K"), "no notification has"),
    "a header that is none": ("b", notice(headers="eA0K"), "Name: value"),
    "another hash of a URL": ("b", notice(url_hash="A" * 43 + "="), "another hash"),
    "deleted, and yet there": ("b", notice(deleted_at=1.0), "is not"),
    "a folder that is a path": ("b", notice(folder="../x"), "no folder"),
    "a folder without a name": ("b", notice(folder=""), "no folder"),
    "a conversation without end": ("b", notice(thread="x" * 9999), "conversation"),
    "a copy that is none": ("b", notice(kept=7), "is none"),
    "a copy of another size": ("b", copied(size=5), "digest differs"),
    "a copy with no digest": ("b", copied(digest="%"), "base64"),
    "a draft that is a path": ("b", draft(id="../x"), "no ID"),
    "a draft with other fields": ("b", draft(fields={"from": "chief@b.example"}), "as drafts"),
    "a draft of numbers": ("b", draft(fields={"text": 7}), "as drafts"),
    "a draft with half a character": ("b", draft(fields={"text": "\ud800"}), "cannot be kept"),
    "an attachment that is a path": ("b", attachment(id="../settings.json"), "no ID"),
    "an attachment of another size": ("b", attachment(size=5), "as it was"),
    "an attachment beyond all": ("b", attachment(size=1 << 60), "too much"),
    "an attachment with another digest": ("b", attachment(digest="AAAA"), "as it was"),
    "an alias of another domain": (
        "b", domain("aliases", [{**ALIAS, "address": "chief@a.example"}]), "an alias",
    ),
    "a catch-all that may send": (
        "b", domain("aliases", [{**ALIAS, "address": "*@b.example", "may_send": True}]), "an alias",
    ),
    "a group that is none": ("b", setting("group", 7), "no object"),
    "a group that nobody may write to": (
        "b", setting("group", {**GROUP, "writers": "nobody"}), "the group",
    ),
    "a member who is none": ("b", setting("group", {**GROUP, "members": [7]}), "no object"),
    "a member of another name": (
        "b", setting("group", {**GROUP, "members": [
            {"member": "x@c.example", "address": "y@c.example", "is_owner": True, "joined_at": 1},
        ]}), "a member",
    ),
    "a preference too long": (
        "b", setting("preferences", [{"name": "x", "value": "x" * 20_000}]), "too long",
    ),
    "a check that is none": ("b", notice(checks=[["origin", "perhaps", "x"]]), "is none"),
    "checks that are no list": ("b", notice(checks="x"), "no list"),
    "a notice that came in the year 10000": ("b", notice(received_at=253402300800.0), "bounds"),
    "a notice twice": (
        "b", lambda at: lines(at / BOB / "notices.jsonl", lambda all_: all_.insert(0, all_[0])),
        "order",
    ),
    "a mailbox of which there is none": ("b", setting("mailbox", None), "order"),
    "a mailbox with a version beyond all": (
        "b", lambda at: whole(at / BOB / "settings.json",
                              lambda all_: all_["mailbox"].update(version=2**62)),
        "out of bounds",
    ),
    "a password that is none": ("b", account(password_hash="builder"), "not a hash"),
    "a password that takes all memory": (
        "b", account(password_hash="$argon2id$v=19$m=4194304,t=4,p=1$gH18VH203JzXzhkJUX54AQ$"
                     "sNpbtTdAa/KjksdWRAOzuKmmLnCgStykpbJwJOy06S4"), "not a hash",
    ),
    "a password that takes a year": (
        "b", account(password_hash="$argon2id$v=19$m=9216,t=4000000,p=1$gH18VH203JzXzhkJUX54AQ$"
                     "sNpbtTdAa/KjksdWRAOzuKmmLnCgStykpbJwJOy06S4"), "not a hash",
    ),
    "a token that is no hash": (
        "b", account(tokens=[{"label": "x", "hash": "AA==", "created_at": 1.0}]), "no hash",
    ),
    "tokens that are no list": ("b", account(tokens={"x": 1}), "no list"),
    "an account that is none": ("b", setting("account", 7), "no object"),
    "filters that are no list": ("b", setting("filters", {}), "no list"),
    "a filter that is none": ("b", setting("filters", [{**RULE, "action": "burn"}]), "a filter"),
    "a filter for nobody": ("b", setting("filters", [{**RULE, "who": "x"}]), "none of"),
    "a filter with half a pattern": ("b", setting("filters", [{**RULE, "header": "x"}]), "filter"),
    "a pattern too long": (
        "b", setting("filters", [{**RULE, "header": "x", "pattern": "*" * 9999}]), "a filter",
    ),
    "a key that is none": (
        "a", setting("author_keys", [{"line": "ssh-dss AAAA", "added_at": 1.0}], ALICE), "a key",
    ),
    "a known key that is none": (
        "b", setting("known_authors", [{"author": ALICE, "line": "x", "first_seen_at": 1}]), "key",
    ),
    "a signing key that is a path": (
        "b", domain("signing_keys", [{**KEY, "selector": "../../x"}]), "no name",
    ),
    "a signing key that is none": (
        "b", domain("signing_keys", [{**KEY, "public": "AAAA"}]), "is none",
    ),
    "a domain with TLS that is none": (
        "b", domain("tls_domains", [{"domain": "a b", "seen_at": 1.0}]), ".",
    ),
    "somebody else's export below": (
        "b", lambda at: whole(at / BOB / "export.json", lambda all_: all_.update(address=ALICE)),
        "changed",
    ),
}  # fmt: skip


def refused(hosts: Hosts, tmp_path: Path, which: str, edit: Edit, *, sealed: bool) -> str:
    """What is said of a copy that was edited; nothing of it may be taken in."""
    directory = tmp_path / "copy"
    shutil.copytree(hosts.a if which == "a" else hosts.b, directory, symlinks=True)
    edit(directory)
    if sealed:
        seal(directory)
    with pytest.raises(XHMTPError) as error:
        import_export(hosts.new, directory)
    assert everything(hosts.new) == hosts.empty
    said = str(error.value)
    assert said.isprintable()
    assert len(said) < 500
    return said


@pytest.mark.parametrize("name", CHANGED)
def test_an_export_that_was_changed_is_refused(hosts: Hosts, tmp_path: Path, name: str):
    which, edit, said = CHANGED[name]
    assert said in refused(hosts, tmp_path, which, edit, sealed=False) + "."


@pytest.mark.parametrize("name", FORGED)
def test_an_export_that_was_forged_is_refused(hosts: Hosts, tmp_path: Path, name: str):
    which, edit, said = FORGED[name]
    assert said in refused(hosts, tmp_path, which, edit, sealed=True) + "."


def test_the_same_without_an_edit_is_taken(hosts: Hosts, tmp_path: Path):
    """Else the tests above could not fail."""
    directory = tmp_path / "copy"
    shutil.copytree(hosts.b, directory)
    seal(directory)
    report = import_export(hosts.new, directory, dry_run=True)
    assert report.imported[0].notices.added == 4
    assert everything(hosts.new) == hosts.empty


def test_what_works_on_a_terminal_is_made_harmless(hosts: Hosts, tmp_path: Path):
    directory = tmp_path / "copy"
    shutil.copytree(hosts.a, directory)
    recipient(last_answer="\x1b[2J gone")(directory)
    seal(directory)
    url = f"sqlite:///{tmp_path}/new.db"
    with make_world(tmp_path, f"sqlite:///{tmp_path}/a.db") as world, \
            new_host(world, tmp_path, url) as new:  # fmt: skip
        import_export(new, directory)
        answers = {row["last_answer"] for row in kept(new)["delivery"]}
    assert " [2J gone" in answers


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.just([]), st.just({}), st.just([[]]), st.just("A" * 40),
)  # fmt: skip
FILES = {
    "a": [f"{ALICE}/sent.jsonl", f"{ALICE}/recipients.jsonl", f"{ALICE}/settings.json",
          f"{ALICE}/export.json", "export.json"],
    "b": [f"{BOB}/notices.jsonl", f"{BOB}/settings.json", "domain.json", f"{BOB}/drafts.jsonl"],
}  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_is_taken_or_refused_in_one_line(
    hosts: Hosts, tmp_path: Path, data: st.DataObject
):
    which = data.draw(st.sampled_from(sorted(FILES)))
    name = data.draw(st.sampled_from(FILES[which]))
    directory = tmp_path / "copy"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(hosts.a if which == "a" else hosts.b, directory)
    path = directory / name
    content = [json.loads(line) for line in path.read_text().splitlines()] if (
        name.endswith("l")
    ) else json.loads(path.read_text())  # fmt: skip
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    path.write_text(
        "".join(json.dumps(one) + "\n" for one in content)
        if name.endswith("l")
        else json.dumps(content)
    )
    if not name.endswith("export.json"):
        seal(directory)
    try:
        import_export(hosts.new, directory, dry_run=True)
    except XHMTPError as error:
        assert str(error).isprintable()
    assert everything(hosts.new) == hosts.empty
