"""Threats of docs/security.md that no other file tests."""

import threading
import time
from typing import Any

import pytest

from tests.test_signature import form, post
from tests.world import MESSAGE, World, basic, call
from xhmtp_wsgi.responses import response

ALICE, BOB = basic("alice@a.example", "wonderland"), basic("bob@b.example", "builder")
TYPE = {"content-type": "application/x-www-form-urlencoded"}


def test_one_destination_gets_no_more_than_so_many_at_once(sqlite_world: World):
    world = sqlite_world
    to = ",\r\n ".join(f"u{number}@b.example" for number in range(60))
    world.inject(MESSAGE.replace(b"bob@b.example", to.encode()))
    lock, now, most = threading.Lock(), 0, 0

    def counting(environ: Any, start_response: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return world.b(environ, start_response)

    world.network.hosts["server.b.example"] = counting
    world.notify()
    assert 1 < most <= world.a.agent.settings.concurrency_per_destination


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "ä"])
def test_no_header_value_becomes_two(value: str):
    with pytest.raises(ValueError, match="one line of ASCII"):
        response(200, b"", "text/plain", {"X-Test": value})


def test_a_page_elsewhere_cannot_act_with_credentials_that_a_browser_keeps(world: World):
    location = world.inject().headers["Location"]
    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
        answer = call(
            world.a, "/xhmtp/alice/", method="POST", body=MESSAGE, content_type=content_type,
            authorization=ALICE, headers={"Origin": "http://evil.example"},
        )  # fmt: skip
        assert answer.status_int == 415, "what a form can send does nothing"
    for path in ("/xhmtp/alice/", location):
        asked = call(
            world.a, path, method="OPTIONS",
            headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"},
        )  # fmt: skip
        assert asked.status_int == 405
        assert not [name for name in asked.headers if name.lower().startswith("access-control")]


PATHS = [
    "/", "//", "/.", "/..", "/../x", "/%2e%2e/x", "/alice/../bob/", "/alice//", "/alice/%00/",
    "/\\", "/alice\\..\\", "/bob@b.example/", "/bob@b.example/keys/x", "/@", "/a@", "/@b.example",
    "/bob@@b.example", "/bob@b.example@c.example", "/bob@b.example\r\n", "/bob@b.example\0",
    "/bob@b.example/../alice/", "/x" * 600, "/alice/" + "x" * 26, "/alice/" + "A" * 26,
    "/alice/" + "a" * 26 + "/status/x", "/alice/" + "a" * 26 + "/", "/metrics/", "/alice/;x=y/",
    "/bob%40b.example%2f", "/\xff\xfe", "/\u202e@b.example", "/bob@b.example?x", "/~",
    "/.git/config",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "X" * 50])
def test_no_path_and_no_method_makes_more_than_an_error_of_ours(
    sqlite_world: World, path: str, method: str
):
    environ = {"PATH_INFO": "/xhmtp" + path.encode("utf-8", "replace").decode("latin-1")}
    answer = call(sqlite_world.a, "/", method=method, environ=environ)
    assert 400 <= answer.status_int < 500
    assert b"the site" not in answer.body


@pytest.mark.parametrize(
    "path", ["/xhmtp/alice/", "/xhmtp/alice@a.example", "/xhmtp/alice@a.example/keys"]
)
def test_a_query_that_is_not_utf_8_is_malformed(sqlite_world: World, path: str):
    answer = call(sqlite_world.a, f"{path}?to=%ff", authorization=ALICE)
    assert answer.status_int == 400
    assert "query" in answer.json["detail"]


def test_a_forgers_names_are_not_looked_up_for_him(sqlite_world: World):
    resolver = sqlite_world.resolver
    resolver.asked.clear()
    body = form(author="eve@victim.example", host="server.b.example")
    assert post(sqlite_world, TYPE, body, "192.0.2.66").status_int == 403
    assert {name for name, _ in resolver.asked} <= {"server.b.example", "_prefix._xhmtp.b.example"}


class NoNetwork:
    """Whoever uses it opens a connection."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a web process has used the network: {name}")


def test_no_request_makes_a_web_process_open_a_connection(sqlite_world: World):
    world = sqlite_world
    for agent in (world.a.agent, world.b.agent):
        object.__setattr__(agent, "network", NoNetwork())
    location = world.inject().headers["Location"]
    assert post(world, TYPE, form(), "192.0.2.1").status_int == 201
    assert world.feed().status_int == 200
    assert call(world.a, location, authorization=ALICE).status_int == 200
    assert call(world.a, f"{location}/status", authorization=ALICE).status_int == 200
    assert call(world.a, "/xhmtp/alice@a.example/keys").status_int == 200
    assert call(world.a, location, method="DELETE", authorization=ALICE).status_int == 200


def test_every_answer_keeps_strangers_words_harmless_and_sets_no_cookie(world: World):
    location = world.inject().headers["Location"]
    for_anybody = call(world.a, "/xhmtp/alice@a.example/keys")
    answers = [
        for_anybody,
        call(world.a, location, authorization=ALICE, headers={"Cookie": "session=x"}),
        call(world.a, f"{location}/status", authorization=ALICE),
        call(world.a, "/xhmtp/alice/", authorization=ALICE),
        call(world.a, "/xhmtp/nothing"),
        call(world.a, location),
        world.feed(),
        world.feed(headers={"Accept": "application/feed+json"}),
        post(world, TYPE, form(), "192.0.2.1"),
        post(world, TYPE, b"", "192.0.2.1"),
    ]
    for answer in answers:
        headers = answer.headers
        assert "Set-Cookie" not in headers
        assert "sandbox; default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"].startswith("private") or answer is for_anybody
        assert "Authorization" in headers["Vary"]
