"""Exports of sealed messages and of keys that were tampered with: refused, and nothing is taken in.

As in test_hostile_import.py, each case edits a copy of a good export.
"""

import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sealed_transfer_world import fill_sealed
from tests.test_hostile_import import (
    VALUES,
    Edit,
    Hosts,
    Record,
    lines,
    refused,
    replaced_by_link,
    setting,
    whole,
)
from tests.test_openpgp_key import KEY, PERSON, packet
from tests.transfer_world import everything, new_host, seal
from tests.world import make_world
from xhmtp_wsgi.errors import Duplicate, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.sealing import Identity, seal_with_passphrase
from xhmtp_wsgi.protocol.sealing import seal as age
from xhmtp_wsgi.transfer.exporting import export
from xhmtp_wsgi.transfer.importing import import_export

ALICE, BOB, EMIL = "alice@a.example", "bob@b.example", "emil@b.example"
BIG = 10**400


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    directory = tmp_path_factory.mktemp("hostile")
    with make_world(directory, f"sqlite:///{directory}/a.db") as world:
        fill_sealed(world)
        export(world.a.agent, "a.example", directory / "a")
        export(world.b.agent, "b.example", directory / "b")
        with new_host(world, directory, f"sqlite:///{directory}/new.db") as new:
            new.database.upgrade()
            yield Hosts(directory / "a", directory / "b", new, everything(new))


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def message_id(at: Path, name: str) -> str:
    """The ID of a message by its Message-ID, or of the one that is in the clear too."""
    for one in read(at / ALICE / "sent.jsonl"):
        if one["message_id"] == f"<{name}@a.example>" or (name == "clear" and not one["sealed"]):
            return str(one["id"])
    raise AssertionError(name)


def message(name: str = "several", **fields: Any) -> Edit:
    """The row of a message, which tells of its first representation."""

    def edit(at: Path) -> None:
        wanted = message_id(at, name)
        lines(
            at / ALICE / "sent.jsonl",
            lambda all_: next(one for one in all_ if one["id"] == wanted).update(fields),
        )

    return edit


def further(name: str = "several", number: int = 2, **fields: Any) -> Edit:
    """The row of a further representation."""
    return all_further(
        lambda mine: next(one for one in mine if one["number"] == number).update(fields), name
    )


def all_further(change: Callable[[list[Record]], object], name: str = "several") -> Edit:
    """The rows of all further representations of a message."""

    def edit(at: Path) -> None:
        wanted = message_id(at, name)

        def changed(all_: list[Record]) -> None:
            mine = [one for one in all_ if one["message"] == wanted]
            start = all_.index(mine[0])
            behind = all_[start + len(mine) :]
            change(mine)
            all_[start:] = [*mine, *behind]

        lines(at / ALICE / "representations.jsonl", changed)

    return edit


def header(old: bytes, new: bytes, *, name: str = "several", of: str = "all") -> Edit:
    """The outer header: of the first representation, of all others, or of all."""

    def replaced(one: Record) -> None:
        before = b64decode(one["header"])
        assert old in before
        one["header"] = b64encode(before.replace(old, new, 1)).decode()

    def edit(at: Path) -> None:
        wanted = message_id(at, name)
        if of in ("all", "first"):
            lines(
                at / ALICE / "sent.jsonl",
                lambda all_: replaced(next(one for one in all_ if one["id"] == wanted)),
            )
        if of in ("all", "further"):
            all_further(lambda mine: list(map(replaced, mine)), name)(at)

    return edit


def recipient(of: str = EMIL, **fields: Any) -> Edit:
    return lambda at: lines(
        at / ALICE / "recipients.jsonl",
        lambda all_: [one.update(fields) for one in all_ if one["recipient"] == of],
    )


def file(at: Path, number: int, name: str = "several") -> Path:
    end = f"-{number}" if number else ""
    return at / ALICE / "sealed" / f"{message_id(at, name)}{end}.age"


def octets(number: int, new: bytes) -> Edit:
    """Other octets, which the row fits."""

    def edit(at: Path) -> None:
        file(at, number).write_bytes(new)
        facts: Record = {"size": len(new), "digest": b64encode(sha256(new).digest()).decode()}
        (further(number=number, **facts) if number else message(**facts))(at)

    return edit


def without_representations(at: Path) -> None:
    (at / ALICE / "representations.jsonl").unlink()
    whole(at / ALICE / "export.json", lambda all_: all_["files"].pop("representations.jsonl"))


def emptied_and_beyond_all(at: Path) -> None:
    all_further(lambda mine: [one.update(size=2**63 - 1) for one in mine], "gone")(at)


def held(**fields: Any) -> Edit:
    return lambda at: whole(
        at / BOB / "settings.json", lambda all_: all_["held_keys"][0].update(fields)
    )


def in_base64(given_octets: bytes) -> str:
    return b64encode(given_octets).decode()


def kept_file(at: Path) -> Path:
    (path,) = (at / BOB / "sealed").iterdir()
    return path


def extract(**fields: Any) -> Edit:
    return lambda at: lines(at / BOB / "extracts.jsonl", lambda all_: all_[0].update(fields))


HIS = Identity.generate()
SECRET = HIS.text().encode()
WITH_PASSWORD = b"".join(seal_with_passphrase([SECRET], "x", 1))
HELD: Record = {
    "recipient": str(HIS.recipient),
    "sealed": in_base64(WITH_PASSWORD),
    "added_at": 1.0,
}
PUBLISHED: Record = {"recipient": str(HIS.recipient), "added_at": 1.0}
KNOWN: Record = {"address": EMIL, "recipients": str(HIS.recipient), "first_seen_at": 1.0}
OPENPGP: Record = {"octets": in_base64(KEY + PERSON), "added_at": 1.0}


def key() -> str:
    return str(Identity.generate().recipient)


# Which domain's export, what is done to it, what is said of it; as the manifest stands.
CHANGED: dict[str, tuple[str, Edit, str]] = {
    "a form is changed": ("a", lambda at: file(at, 2).open("ab").write(b"x"), "digest differs"),
    "the first form is changed": (
        "a", lambda at: file(at, 0).open("ab").write(b"x"), "digest differs",
    ),
    "a form is cut": (
        "a", lambda at: file(at, 3).write_bytes(file(at, 3).read_bytes()[:-1]), "digest differs",
    ),
    "two forms are exchanged": (
        "a", lambda at: shutil.copy(file(at, 2), file(at, 3)), "digest differs",
    ),
    "a form is missing": ("a", lambda at: file(at, 3).unlink(), "-3 is missing"),
    "the first form is missing": ("a", lambda at: file(at, 0).unlink(), "is missing"),
    "a form is a link": (
        "a", lambda at: replaced_by_link(str(file(at, 1).relative_to(at)))(at), "link",
    ),
    "all forms are a link": ("a", replaced_by_link(f"{ALICE}/sealed"), "not a directory"),
    "all forms are missing": ("a", lambda at: shutil.rmtree(at / ALICE / "sealed"), "missing"),
    "the rows of the forms are changed": ("a", further(sealed="client"), "changed or cut"),
    "a sealed copy is changed": (
        "b", lambda at: kept_file(at).open("ab").write(b"x"), "digest differs",
    ),
    "a sealed copy is missing": ("b", lambda at: kept_file(at).unlink(), "digest differs"),
    "a sealed copy is a link": (
        "b", lambda at: replaced_by_link(str(kept_file(at).relative_to(at)))(at), "link",
    ),
    "what was found is changed": ("b", extract(written_at=7.0), "changed or cut off"),
}  # fmt: skip

# The same, and the manifest is made to fit.
FORGED: dict[str, tuple[str, Edit, str]] = {
    "no row of a form": ("a", all_further(lambda mine: mine.pop(1)), "not in their order"),
    "no row of the last form": ("a", all_further(lambda mine: mine.pop()), "not there in the form"),
    "no rows of forms at all": ("a", without_representations, "not there in the form"),
    "a form twice": ("a", all_further(lambda mine: mine.append(mine[-1])), "not in their order"),
    "a form of another message": (
        "a", further(number=3, message="b" * 26), "not there in the form",
    ),
    "a form of a message that nobody has sent": (
        "a", lambda at: lines(
            at / ALICE / "representations.jsonl",
            lambda all_: all_.append({**all_[-1], "message": "b" * 26, "number": 1}),
        ), "lines of a message that is not there",
    ),
    "a form of a message that is a path": (
        "a", further(number=3, message="../../x"), "not there in the form",
    ),
    "a form of no number": ("a", all_further(lambda mine: mine[0].update(number=0)), "order"),
    "a form of a huge number": (
        "a", all_further(lambda mine: mine[0].update(number=10**9)), "order",
    ),
    "a form of a number beyond all": (
        "a", all_further(lambda mine: mine[0].update(number=BIG)), ".",
    ),
    "a form below zero": ("a", all_further(lambda mine: mine[0].update(number=-1)), "bounds"),
    "a form of another digest": ("a", further(digest="A" * 43 + "="), "digest differs"),
    "a form of a short digest": ("a", further(digest="AA=="), "digest is none"),
    "a form of another size": ("a", further(size=5), "digest differs"),
    "a form in the clear": ("a", further(sealed=None), "not sealed"),
    "a form sealed to nothing known": ("a", further(sealed="rot13"), "not known here"),
    "a form with an unknown field": ("a", further(priority=1), "not known here"),
    "a form that is no age file": ("a", octets(2, b"Meet at the viaduct"), "no age file"),
    "a first form that is no age file": ("a", octets(0, b"Subject: x\r\n\r\nx"), "no age file"),
    "a first form sealed to nothing known": ("a", message(sealed="rot13"), "not known here"),
    "a first form in the clear": ("a", message(sealed=None), "not to be there"),
    "a message in the clear as a sealed one": (
        "a", message("clear", sealed="x25519"), "not to be there",
    ),
    "forms of what is let go, larger than can be": ("a", emptied_and_beyond_all, "than can be"),
    "an outer header with To": (
        "a", header(b"\r\n\r\n", b"\r\nTo: bob@b.example\r\n\r\n"), "as one that was stored",
    ),
    "an outer header with Bcc": (
        "a", header(b"\r\n\r\n", b"\r\nBcc: bob@b.example\r\n\r\n"), "as one that was stored",
    ),
    "an outer header with a name in it": (
        "a", header(b"alice@", b"Alice <alice@a.example>\r\nX-Real: x@"), "as one that was stored",
    ),
    "an outer header with a time zone": ("a", header(b"+0000", b"+0900"), "one that was stored"),
    "an outer header that says it is none": (
        "a", header(b"application/age", b"text/plain"), "does not say so",
    ),
    "an outer header that never ends": ("a", header(b"\r\n\r\n", b"\r\n"), "was stored"),
    "a first form in somebody else's name": (
        "a", header(b"alice@a.example", b"chief@a.example"), "From is not",
    ),
    "another outer header for some": (
        "a", header(b"\r\n\r\n", b"\r\nSubject: x\r\n\r\n", of="further"), "another header",
    ),
    "To in the outer header beside what is in the clear": (
        "a", header(b"\r\n\r\n", b"\r\nTo: x@b.example\r\n\r\n", name="clear", of="further"),
        "as one that was stored",
    ),
    "somebody else's name beside what is in the clear": (
        "a", header(b"alice@a.example", b"chief@a.example", name="clear", of="further"),
        "another one than in the clear",
    ),
    "a recipient of a form that is not there": ("a", recipient(representation=4), "not there"),
    "a recipient of a form beyond all": ("a", recipient(representation=BIG), "."),
    "a recipient of a form below zero": ("a", recipient(representation=-1), "out of bounds"),
    "a recipient of a form that is none": ("a", recipient(representation="1"), "of its kind"),
    "a held key in the clear": ("b", held(sealed=in_base64(SECRET)), "not sealed with a password"),
    "a held key sealed to a key": (
        "b", held(sealed=in_base64(b"".join(age([SECRET], [HIS.recipient])))), "with a password",
    ),
    "a held key sealed to a password and a key": (
        "b", held(sealed=in_base64(WITH_PASSWORD.replace(b"---", b"-> X\n\n---", 1))), "password",
    ),
    "a held key that takes all memory": (
        "b", held(sealed=in_base64(WITH_PASSWORD.replace(b" 1\n", b" 20\n", 1))), "password",
    ),
    "a held key with a work factor that is none": (
        "b", held(sealed=in_base64(WITH_PASSWORD.replace(b" 1\n", b" 01\n", 1))), "password",
    ),
    "a held key that is armoured": (
        "b", held(sealed=in_base64(b"-----BEGIN AGE ENCRYPTED FILE-----\n")), "password",
    ),
    "a held key that is too large": (
        "b", held(sealed=in_base64(WITH_PASSWORD + b"x" * 4096)), "password",
    ),
    "a held key of no recipient": ("b", held(recipient="age1"), "key"),
    "a held key whose recipient is the secret": ("b", held(recipient=HIS.text()), "key"),
    "a held key written otherwise": (
        "b", held(recipient=str(HIS.recipient).upper()), "not written as keys",
    ),
    "too many held keys": (
        "b", setting("held_keys", [{**HELD, "recipient": key()} for _ in range(6)]), "be held",
    ),
    "held keys that are no list": ("b", setting("held_keys", {}), "no list"),
    "a published key that is the secret": (
        "b", setting("sealing_keys", [{**PUBLISHED, "recipient": HIS.text()}]), "key to seal to",
    ),
    "published keys of two kinds": (
        "b", setting("sealing_keys", [
            PUBLISHED,
            {**PUBLISHED, "recipient": str(Identity.generate(post_quantum=True).recipient)},
        ]), "two kinds",
    ),
    "too many published keys": (
        "b", setting("sealing_keys", [{**PUBLISHED, "recipient": key()} for _ in range(11)]),
        "more keys",
    ),
    "a published key written otherwise": (
        "b", setting("sealing_keys", [{**PUBLISHED, "recipient": key().upper()}]), "not written",
    ),
    "an OpenPGP key that is secret": (
        "b", setting("openpgp_keys", [{**OPENPGP, "octets": in_base64(packet(5, b"\x04" * 50))}]),
        "secret key",
    ),
    "somebody else's OpenPGP key": (
        "b", setting("openpgp_keys", [
            {**OPENPGP, "octets": in_base64(KEY + packet(13, b"chief@b.example"))},
        ]), "not hers",
    ),
    "two OpenPGP keys": ("b", setting("openpgp_keys", [OPENPGP, OPENPGP]), "no more"),
    "an OpenPGP key that is none": (
        "b", setting("openpgp_keys", [{**OPENPGP, "octets": "AAAA"}]), ".",
    ),
    "a known key that is none": (
        "b", setting("known_sealing_keys", [{**KNOWN, "recipients": "x"}]), "key",
    ),
    "no known keys of somebody": (
        "b", setting("known_sealing_keys", [{**KNOWN, "recipients": ""}]), "key",
    ),
    "known keys of nobody": (
        "b", setting("known_sealing_keys", [{**KNOWN, "address": "x"}]), "name@domain",
    ),
    "known keys of an address written otherwise": (
        "b", setting("known_sealing_keys", [{**KNOWN, "address": "Emil@B.example"}]), "written",
    ),
    "too many known keys of somebody": (
        "b", setting("known_sealing_keys", [
            {**KNOWN, "recipients": "\n".join(key() for _ in range(11))},
        ]), "not written as keys",
    ),
    "known keys with a line too many": (
        "b", setting("known_sealing_keys", [{**KNOWN, "recipients": key() + "\n"}]), ".",
    ),
    "what was found, of no notification": ("b", extract(notice="../x"), "of none"),
    "what was found, too much of it": (
        "b", extract(octets=in_base64(bytes((2 << 20) + 1))), "too much",
    ),
    "what was found, beyond all": (
        "b", extract(octets=in_base64(bytes(4 << 20))), "changed or cut off",
    ),
    "what was found, no octets": ("b", extract(octets=7), "not of its kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_an_export_that_was_changed_is_refused(hosts: Hosts, tmp_path: Path, name: str):
    which, edit, said = CHANGED[name]
    assert said in refused(hosts, tmp_path, which, edit, sealed=False) + "."


@pytest.mark.parametrize("name", FORGED)
def test_an_export_that_was_forged_is_refused(hosts: Hosts, tmp_path: Path, name: str):
    which, edit, said = FORGED[name]
    told = refused(hosts, tmp_path, which, edit, sealed=True)
    assert said in told + "."
    assert HIS.text() not in told
    assert HIS.text()[20:40] not in told


@pytest.mark.parametrize("which", ["a", "b"])
def test_the_same_without_an_edit_is_taken(hosts: Hosts, tmp_path: Path, which: str):
    """Else the tests above could not fail."""
    directory = tmp_path / "copy"
    shutil.copytree(hosts.a if which == "a" else hosts.b, directory)
    for path in directory.rglob("settings.json"):
        whole(path, lambda all_: all_)
    if which == "b":
        for name, value in (
            ("held_keys", [HELD]), ("sealing_keys", [PUBLISHED]), ("openpgp_keys", [OPENPGP]),
            ("known_sealing_keys", [KNOWN]),
        ):  # fmt: skip
            setting(name, value)(directory)
    seal(directory)
    import_export(hosts.new, directory, dry_run=True)
    assert everything(hosts.new) == hosts.empty


def test_what_was_found_in_somebody_elses_messages_is_not_taken(hosts: Hosts, tmp_path: Path):
    directory = tmp_path / "copy"
    shutil.copytree(hosts.b, directory)
    emils = read(directory / EMIL / "notices.jsonl")[0]["id"]
    (row,) = read(directory / BOB / "extracts.jsonl")
    lines(
        directory / BOB / "extracts.jsonl",
        lambda all_: all_.extend([{**row, "notice": emils}, {**row, "notice": "b" * 26}]),
    )
    seal(directory)
    with make_world(tmp_path, f"sqlite:///{tmp_path}/a.db") as world, \
            new_host(world, tmp_path, f"sqlite:///{tmp_path}/new.db") as new:  # fmt: skip
        import_export(new, directory / EMIL)
        import_export(new, directory)
        assert [found[0] for found in everything(new)["sealed_extract"]] == [row["notice"]]


def test_nobody_is_given_other_octets_than_he_was_told_of(hosts: Hosts, tmp_path: Path):
    directory = tmp_path / "copy"
    shutil.copytree(hosts.a, directory)
    recipient(representation=0)(directory)
    seal(directory)
    with make_world(tmp_path, f"sqlite:///{tmp_path}/a.db") as world, \
            new_host(world, tmp_path, f"sqlite:///{tmp_path}/new.db") as new:  # fmt: skip
        import_export(new, hosts.a)
        before = everything(new)
        with pytest.raises(Duplicate, match="other octets for some here"):
            import_export(new, directory)
        assert everything(new) == before


def test_the_limits_of_the_settings_hold_for_what_is_sealed(hosts: Hosts, tmp_path: Path):
    with make_world(tmp_path, f"sqlite:///{tmp_path}/a.db") as world:
        for number, (name, value) in enumerate(
            {"max_message_size": 300_000, "max_recipients": 2, "max_storage": 2_000_000}.items()
        ):
            url = f"sqlite:///{tmp_path}/new{number}.db"
            with new_host(world, tmp_path, url, **{name: value}) as new:
                new.database.upgrade()
                before = everything(new)
                with pytest.raises(SettingsError, match=name):
                    import_export(new, hosts.a)
                assert everything(new) == before


FILES = {
    "a": [f"{ALICE}/{name}" for name in ("sent.jsonl", "representations.jsonl",
                                         "recipients.jsonl", "settings.json", "export.json")],
    "b": [f"{BOB}/{name}" for name in ("notices.jsonl", "extracts.jsonl", "settings.json")],
}  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_and_none_is_taken_or_refused_in_one_line(
    hosts: Hosts, tmp_path: Path, data: st.DataObject
):
    which = data.draw(st.sampled_from(sorted(FILES)))
    name = data.draw(st.sampled_from(FILES[which]))
    directory = tmp_path / "copy"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(hosts.a if which == "a" else hosts.b, directory)
    path = directory / name
    content: Any = read(path) if name.endswith("l") else json.loads(path.read_text())
    place = content
    while True:
        chosen = data.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place))))
        )
        if not (
            isinstance(place[chosen], dict | list) and place[chosen] and data.draw(st.booleans())
        ):
            break
        place = place[chosen]
    if data.draw(st.booleans()):
        del place[chosen]
    else:
        place[chosen] = data.draw(VALUES)
    path.write_text(
        "".join(json.dumps(one) + "\n" for one in content)
        if name.endswith("l")
        else json.dumps(content)
    )
    if not name.endswith("export.json"):
        seal(directory)
    with suppress(XHMTPError):
        import_export(hosts.new, directory, dry_run=True)
    assert everything(hosts.new) == hosts.empty
