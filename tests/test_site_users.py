"""Users whom XHMTP is not told of: those of an htpasswd file, and whom the server has logged in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.by_hand import feed, inject, message
from tests.templates import copy_sqlite
from tests.world import basic, call, site
from xhmtp_wsgi import XHMTP
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.site_users import (
    HtpasswdUsers,
    RemoteUser,
    SeveralUsers,
    SiteUsers,
    one_users_name,
    without_body,
)

# As Apache's htpasswd 2.4.57 made them, of the password "builder".
LINES = {
    "bcrypt (-B)": "$2y$04$JUwB./vJesaj23WfBgHBsOZwsZAeuRMMrgr3AmqQG59p8rgwSMfxC",
    "SHA-512 (-5)": "$6$mhYGbn992PRweii8$7xotCklrdNGWj9CVYxO.P91E7Ricw0Y8JWp7Q5xITwOEwqh5b6UI6qEfob"
    "E/tPbZZCiboT1EJoz5CCkUY6hvL.",
    "SHA-256 (-2)": "$5$CEyFWEKX.jFIp5Qm$Me.W4ry.S1HG1OFj.VouXE/uBYP/KVBpJEpu9U6yqcD",
    "apr1 (-m)": "$apr1$aPPeJZK.$nOx0jyWdkwFneZwQ84Ydz/",
}
WEAK = {
    "in clear (-p)": "builder",
    "SHA-1 without salt (-s)": "{SHA}9SMYoF5RilWWASry7TjeaKwmpGg=",
    "crypt (-d)": "gnvHTHFBShPCI",
    "a kind that is not known": "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9S",
}
BCRYPT = LINES["bcrypt (-B)"]


def with_settings(directory: Path, users: SiteUsers | None = None, **settings: Any) -> XHMTP:
    """A plain WSGI site with those settings."""
    copy_sqlite(directory / "xhmtp.db")
    domain = {"a.example": {"prefix": "xhmtp", "agent": "http://server.a.example"}}
    return XHMTP(
        site,
        {"database": f"sqlite:///{directory}/xhmtp.db", "domain": domain, **settings},
        users=users,
    )


def htpasswd(directory: Path, lines: Mapping[str, str]) -> Path:
    file = directory / "htpasswd"
    file.write_text("".join(f"{user}:{hashed}\n" for user, hashed in lines.items()))
    return file


@pytest.mark.parametrize("kind", LINES)
def test_a_user_of_an_htpasswd_file_injects_and_reads(tmp_path: Path, kind: str):
    application = with_settings(tmp_path, htpasswd=str(htpasswd(tmp_path, {"bob": LINES[kind]})))
    for user in ("bob", "bob@a.example"):
        assert inject(application, "bob@a.example", f"{user}:builder").status_int in (201, 200)
        assert feed(application, "bob@a.example", f"{user}:builder").status_int == 200
    for login in (
        "bob:Builder",
        "bob:",
        f"bob:{LINES[kind]}",
        "cheryl:builder",
        "bob@x.example:builder",
    ):
        assert inject(application, "bob@a.example", login).status_int == 401, login


@pytest.mark.parametrize("kind", WEAK)
def test_a_password_in_clear_or_a_weak_hash_opens_nothing(tmp_path: Path, kind: str):
    users = HtpasswdUsers(htpasswd(tmp_path, {"bob": WEAK[kind]}))
    assert users.exists("bob@a.example")
    assert not users.check_password("bob@a.example", "builder")
    assert not users.check_password("bob@a.example", WEAK[kind]), "nor does the hash itself"


def test_an_address_in_the_file_is_found_before_the_part_before_the_at(tmp_path: Path):
    lines = {"bob@a.example": BCRYPT, "bob": LINES["apr1 (-m)"].replace("aPPeJZK.", "changed.")}
    users = HtpasswdUsers(htpasswd(tmp_path, lines))
    assert users.check_password("bob@a.example", "builder")
    assert not users.check_password("bob@other.example", "builder")


def test_a_file_that_changes_is_read_anew(tmp_path: Path):
    file = htpasswd(tmp_path, {"bob": BCRYPT})
    users = HtpasswdUsers(file)
    assert users.exists("bob@a.example")
    htpasswd(tmp_path, {"cheryl": BCRYPT})
    os.utime(file, ns=(1, 1))
    assert not users.exists("bob@a.example")
    assert users.check_password("cheryl@a.example", "builder")


def test_whoever_leaves_the_file_is_written_to_no_more(tmp_path: Path):
    file = htpasswd(tmp_path, {"bob": BCRYPT})
    application = with_settings(tmp_path, htpasswd=str(file))
    bob = Endpoint.parse("bob@a.example")
    assert application.agent.accounts.find(bob) is not None, "before he ever logs in"
    htpasswd(tmp_path, {"cheryl": BCRYPT})
    assert application.agent.accounts.find(bob) is None
    assert feed(application, "bob@a.example", "bob:builder").status_int == 401


@pytest.mark.parametrize("broken", ["missing", "a directory", "no colon"])
def test_a_file_that_cannot_be_read_opens_nothing_and_is_logged(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "htpasswd"
    if broken == "a directory":
        file.mkdir()
    elif broken == "no colon":
        file.write_text("bob\n")
    application = with_settings(tmp_path, htpasswd=str(file))
    assert inject(application, "bob@a.example", "bob:builder").status_int == 401
    application.agent.accounts.add(Endpoint.parse("alice@a.example"), "wonderland")
    assert inject(application, "alice@a.example", "alice:wonderland").status_int == 201
    assert "htpasswd cannot be used" in caplog.text


def test_a_name_in_another_encoding_keeps_nobody_out(tmp_path: Path):
    file = tmp_path / "htpasswd"
    file.write_bytes(b"j\xfcrgen:x\n" + f"bob:{BCRYPT}\n".encode())
    users = HtpasswdUsers(file)
    assert users.check_password("bob@a.example", "builder")
    assert not users.check_password("jurgen@a.example", "x")


def test_odd_names_and_passwords_are_wrong_and_no_fault(tmp_path: Path):
    users = HtpasswdUsers(htpasswd(tmp_path, {"bob": BCRYPT, "cheryl": LINES["apr1 (-m)"]}))
    for password in ("", "\0", "builder\0", "x" * 1024, "\ud800", "ü" * 500):
        assert not users.check_password("bob@a.example", password)
        assert not users.check_password("cheryl@a.example", password)
    longest = "x" * 10 + "@" + ".".join(["y" * 60] * 4)
    assert not users.exists(longest)
    assert not users.check_password(longest, "builder")


def test_bcrypt_reads_as_much_of_a_password_as_htpasswd_took(tmp_path: Path):
    from passlib.hash import bcrypt

    long = "ü" * 50
    hashed = bcrypt.using(rounds=4).hash(long.encode()[:72])
    users = HtpasswdUsers(htpasswd(tmp_path, {"bob": hashed}))
    assert users.check_password("bob@a.example", long)
    assert not users.check_password("bob@a.example", "ü" * 35)


def test_nobody_costs_as_much_as_somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from passlib.context import CryptContext

    hashed: list[object] = []
    verify = CryptContext.verify_and_update

    def counted(self: Any, secret: object, hash_: object, **options: Any) -> Any:
        hashed.append(secret)
        return verify(self, secret, hash_, **options)

    monkeypatch.setattr(CryptContext, "verify_and_update", counted)
    users = HtpasswdUsers(htpasswd(tmp_path, {"bob": BCRYPT}))
    for address in ("bob@a.example", "nobody@a.example"):
        hashed.clear()
        assert not users.check_password(address, "wrong")
        assert len(hashed) == 1


def test_whom_the_server_has_logged_in_injects_and_reads(tmp_path: Path):
    application = with_settings(tmp_path, remote_user=True)
    for name in ("bob", "bob@a.example", "Bob@A.EXAMPLE"):
        logged_in = {"REMOTE_USER": name, "AUTH_TYPE": "Negotiate"}
        assert inject(application, "bob@a.example", environ=logged_in).status_int in (201, 200)
        assert feed(application, "bob@a.example", environ=logged_in).status_int == 200
    for name in ("", "cheryl", "bob@x.example", "not an address", "bob@a.example@a.example"):
        logged_in = {"REMOTE_USER": name}
        assert feed(application, "bob@a.example", environ=logged_in).status_int == 401, name


def test_no_header_passes_for_the_servers_word(tmp_path: Path):
    application = with_settings(tmp_path, remote_user=True)
    for name in ("Remote-User", "REMOTE_USER", "X-Remote-User", "Auth-User"):
        answer = feed(application, "bob@a.example", headers={name: "bob"})
        assert answer.status_int == 401, name


def test_the_servers_word_counts_only_where_the_settings_say_so(tmp_path: Path):
    application = with_settings(tmp_path)
    assert feed(application, "bob@a.example", environ={"REMOTE_USER": "bob"}).status_int == 401


@pytest.mark.parametrize("asked_by", ["cross-site", "same-site"])
def test_another_sites_page_cannot_use_the_servers_log_in(tmp_path: Path, asked_by: str):
    application = with_settings(tmp_path, remote_user=True)
    logged_in = {"REMOTE_USER": "bob"}
    browser = {"Sec-Fetch-Site": asked_by}
    refused = inject(application, "bob@a.example", environ=logged_in, headers=browser)
    assert refused.status_int == 403
    path = "/xhmtp/bob/abcdefghijklmnopqrstuvwxyz"
    withdrawn = call(application, path, method="DELETE", environ=logged_in, headers=browser)
    assert withdrawn.status_int == 403
    own = {"Sec-Fetch-Site": "same-origin"}
    assert inject(application, "bob@a.example", environ=logged_in, headers=own).status_int == 201


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://a.example", 201),
        ("https://a.example", 201),
        ("https://outside.example", 201),
        ("http://evil.example", 403),
        ("http://a.example:8080", 403),
        ("http://a.example.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_browser_that_tells_only_the_origin_is_understood(
    tmp_path: Path, origin: str, status: int
):
    """Without TLS, that is all of them."""
    application = with_settings(tmp_path, remote_user=True)
    headers = {
        "Host": "a.example", "X-Forwarded-Host": "outside.example", "Origin": origin,
    }  # fmt: skip
    logged_in = {"REMOTE_USER": "bob"}
    answer = inject(application, "bob@a.example", environ=logged_in, headers=headers)
    assert answer.status_int == status


def test_whom_the_server_has_logged_in_sees_what_he_has_sent_and_nobody_elses(tmp_path: Path):
    application = with_settings(tmp_path, remote_user=True)
    created = inject(application, "bob@a.example", environ={"REMOTE_USER": "bob"})
    place = created.headers["Location"]
    assert call(application, place, environ={"REMOTE_USER": "bob"}).body.endswith(b"Dear Bob\r\n")
    for name in ("cheryl", ""):
        assert call(application, place, environ={"REMOTE_USER": name}).status_int == 401


class Fixed(SiteUsers):
    """Users that a table tells of."""

    def __init__(self, exists: bool | None, password: str = "", logged_in: str | None = None):
        self._exists, self._password, self._logged_in = exists, password, logged_in

    def exists(self, address: str) -> bool | None:
        return self._exists

    def check_password(self, address: str, password: str) -> bool:
        return password == self._password

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        return self._logged_in


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (True, False, True), (False, True, True), (None, True, True), (True, None, True),
        (False, False, False), (None, False, None), (False, None, None), (None, None, None),
    ],
)  # fmt: skip
def test_of_several_one_that_knows_him_is_enough(first: Any, second: Any, told: Any):
    assert SeveralUsers([Fixed(first), Fixed(second)]).exists("bob@a.example") is told


def test_of_several_one_that_lets_him_in_is_enough():
    several = SeveralUsers([Fixed(True, "one"), Fixed(True, "two", "bob"), Fixed(True, "3", "eve")])
    assert several.check_password("bob@a.example", "two")
    assert not several.check_password("bob@a.example", "four")
    assert several.logged_in({}) == "bob"
    assert SeveralUsers([Fixed(True), Fixed(True)]).logged_in({}) is None


def test_the_settings_and_the_site_may_each_bring_users(tmp_path: Path):
    file = htpasswd(tmp_path, {"bob": BCRYPT})
    application = with_settings(
        tmp_path, Fixed(True, "of the site"), htpasswd=str(file), remote_user=True
    )
    for login in ("bob:builder", "bob:of the site", "cheryl:of the site"):
        local = login.partition(":")[0]
        assert feed(application, f"{local}@a.example", login).status_int == 200
    assert feed(application, "eve@a.example", environ={"REMOTE_USER": "eve"}).status_int == 200
    assert feed(application, "cheryl@a.example", "cheryl:builder").status_int == 401


def test_a_site_that_knows_nothing_lets_nobody_in(tmp_path: Path):
    silent = SiteUsers()
    assert silent.exists("bob@a.example") is None
    assert not silent.check_password("bob@a.example", "")
    assert RemoteUser().exists("bob@a.example") is None
    application = with_settings(tmp_path, silent)
    assert feed(application, "bob@a.example", "bob:").status_int == 401


@pytest.mark.parametrize(
    ("name", "taken"),
    [("bob", "bob"), ("bob@a.example", "bob@a.example"), (17, "17"), ("Bob", None), (None, None)],
)
def test_a_name_with_capitals_is_nobodys(name: object, taken: str | None):
    """Else whoever registers as Bob, where names differ in that, would read what is bob's."""
    assert one_users_name(name) == taken


def test_what_looks_for_a_log_in_cannot_eat_the_message(tmp_path: Path):
    class Curious(SiteUsers):
        def logged_in(self, environ: Mapping[str, Any]) -> str | None:
            environ = without_body(environ)
            assert environ["wsgi.input"].read() == b""
            assert environ["CONTENT_LENGTH"] == "0"
            return "bob"

        def check_password(self, address: str, password: str) -> bool:
            return True

    application = with_settings(tmp_path, Curious())
    created = inject(application, "bob@a.example")
    assert created.status_int == 201
    login = basic("bob@a.example", "x")
    stored = call(application, created.headers["Location"], authorization=login)
    assert stored.body.endswith(message("bob@a.example").partition(b"\r\n\r\n")[2])
