"""What the receiver refuses: with the code that the protocol names, and nothing in the inbox."""

from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from webob import Response

from tests.world import World, call
from xhmtp_wsgi import XHMTP, Settings
from xhmtp_wsgi.agent import make_agent

URL = "http://bob%40b.example:SECRETCODE@server.a.example/xhmtp/alice/abcdefghijklmnopqrstuvwxyz"
HEADERS = "From: alice@a.example\r\nSubject: hello\r\n"
A = "192.0.2.1"


def post(
    world: World,
    form: Mapping[str, str] | bytes | None = None,
    *,
    path: str = "/in/box/bob@b.example",
    content_type: str = "application/x-www-form-urlencoded",
    address: str = A,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A notification by hand."""
    if not isinstance(form, bytes):
        form = urlencode({"url": URL, "headers": HEADERS} if form is None else form).encode()
    return call(world.b, path, method="POST", body=form, content_type=content_type,
                address=address, headers=headers)  # fmt: skip


def test_a_well_formed_notification_is_taken(sqlite_world: World):
    assert post(sqlite_world).status_int == 201
    assert post(sqlite_world, path="/in/box/bob%40b.example").status_int == 200


URLS = {
    "no URL": "",
    "another recipient": URL.replace("bob", "cheryl"),
    "a file": URL.replace("http:", "file:"),
    "javascript": "javascript:alert(1)",
    "no credentials": URL.replace("bob%40b.example:SECRETCODE@", ""),
    "no code": URL.replace(":SECRETCODE", ""),
    "an empty code": URL.replace("SECRETCODE", ""),
    "a fragment": URL + "#x",
    "a query": URL + "?x=1",
    "a dot segment": URL.replace("/alice/", "/../"),
    "an encoded dot segment": URL.replace("/alice/", "/%2e%2E/"),
    "an encoded slash": URL.replace("/alice/", "/a%2Fb/"),
    "a line end": URL + "%0d%0aX: y",
    "a raw line end": URL + "\r\nX: y",
    "an address": URL.replace("server.a.example", "127.0.0.1"),
    "a short address": URL.replace("server.a.example", "127.1"),
    "a hexadecimal address": URL.replace("server.a.example", "0x7f.1"),
    "a number": URL.replace("server.a.example", "2130706433"),
    "digits of another script": URL.replace("server.a.example", "①②⑦.0.0.1"),
    "IPv6": URL.replace("server.a.example", "[::1]"),
    "port 0": URL.replace("a.example/", "a.example:0/"),
    "port 65536": URL.replace("a.example/", "a.example:65536/"),
    "two ats": URL.replace("@", "@x@"),
    "a backslash": URL.replace("/alice/", "/a\\b/"),
    "no path": "http://bob%40b.example:SECRETCODE@server.a.example",
    "an empty segment": URL.replace("/alice/", "//"),
    "too long": URL + "x" * 3000,
    "not UTF-8": URL.replace("alice", "%ff"),
}


@pytest.mark.parametrize("name", URLS)
def test_a_malformed_message_url_is_refused(sqlite_world: World, name: str):
    refused(sqlite_world, {"url": URLS[name], "headers": HEADERS}, 400)


BLOCKS = {
    "a bare LF": "From: alice@a.example\nSubject: x",
    "a bare CR": "Subject: a\rX-Evil: b",
    "NUL": "Subject: a\0b",
    "no colon": "Subject",
    "a blank line": "Subject: x\r\n\r\nbody",
    "overlong": "Subject: " + "a" * 1000,
    "a C1 control": "Subject: a\x9bb",
    "a first line that continues": " Subject: x",
    "two Froms": "From: a@b.example\r\nFrom: c@d.example",
    "two authors": "From: a@b.example, c@d.example",
    "a From that is none": "From: alice",
    "a length that is none": "Content-Length: -1",
    "a digest that is none": "Repr-Digest: sha-256=:AAAA:",
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_malformed_header_block_is_refused(sqlite_world: World, name: str):
    refused(sqlite_world, {"url": URL, "headers": BLOCKS[name]}, 400)


FORMS = {
    "empty": b"",
    "no headers": urlencode({"url": URL}).encode(),
    "two URLs": urlencode([("url", URL), ("url", URL), ("headers", HEADERS)]).encode(),
    "a bad escape": b"url=%zz&headers=",
    "eight bits": b"url=\xff&headers=x",
    "not UTF-8": b"url=%ff&headers=x",
    "hundred fields": urlencode([(f"x{n}", "") for n in range(100)]).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_malformed_form_is_refused(sqlite_world: World, name: str):
    refused(sqlite_world, FORMS[name], 400)


def refused(world: World, form: Mapping[str, str] | bytes, status: int) -> None:
    before = world.rows(world.b.agent)
    answer = post(world, form)
    assert answer.status_int == status, answer.body
    assert answer.content_type == "application/problem+json"
    assert "SECRETCODE" not in answer.text
    assert world.rows(world.b.agent) == before


def test_the_other_codes_are_those_of_the_protocol(sqlite_world: World):
    world = sqlite_world
    block = "Subject: x\r\n" + "Keywords: y\r\n" * 2000
    cases = [
        (post(world, content_type="application/json"), 415),
        (post(world, {"url": URL, "headers": block}), 413),
        (post(world, b"x" * (65 << 10)), 413),
        (post(world, {"url": URL.replace("bob", "nobody"), "headers": HEADERS},
              path="/in/box/nobody@b.example"), 404),
        (post(world, path="/in/box/bob@c.example"), 421),
        (post(world, path="/in/box/bo b@b.example"), 400),
        (post(world, path="/in/box/bob@1.2.3.4"), 400),
        (post(world, path="/in/box/%ff@b.example"), 400),
        (post(world, path="/in/box/elsewhere"), 404),
        (call(world.b, "/in/box/bob@b.example", method="PUT"), 405),
    ]  # fmt: skip
    assert [answer.status_int for answer, _ in cases] == [status for _, status in cases]
    assert world.rows(world.b.agent)["notice"] == 0


def test_fields_that_are_not_permissible_are_dropped_and_not_refused(sqlite_world: World):
    block = HEADERS + "X-Evil: yes\r\nReceived: from elsewhere\r\n"
    assert post(sqlite_world, {"url": URL, "headers": block, "extra": "1"}).status_int == 201
    assert "X-Evil" not in sqlite_world.feed().text


def test_a_folded_field_is_unfolded(sqlite_world: World):
    post(sqlite_world, {"url": URL, "headers": "Subject: one\r\n two\r\n"})
    assert "one two" in sqlite_world.feed().text


# Origin.


def test_a_notification_from_another_address_is_refused(sqlite_world: World):
    answer = post(sqlite_world, address="192.0.2.66")
    assert answer.status_int == 403
    assert "server.a.example" in answer.json["detail"]
    assert sqlite_world.rows(sqlite_world.b.agent)["notice"] == 0


def test_a_header_that_anyone_can_set_is_not_believed(sqlite_world: World):
    forged = {"X-Forwarded-For": A, "Forwarded": f"for={A}", "X-Real-IP": A}
    assert post(sqlite_world, address="192.0.2.66", headers=forged).status_int == 403


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        (A, 201),
        (f"6.6.6.6, {A}", 201),
        (f"{A}, 6.6.6.6", 403),
        (f"{A}, 10.0.0.2", 201),
        (f"{A}, nonsense", 403),
        ("", 403),
    ],
)
def test_a_trusted_proxy_is_believed_from_the_right(
    sqlite_world: World, forwarded: str, status: int
):
    world = sqlite_world
    settings = Settings.load(
        {
            "database": world.b.agent.settings.database,
            "trusted_proxies": ["10.0.0.0/8"],
            "domain": {"b.example": {}},
        }
    )
    world.b = XHMTP(world.b.site, settings, agent=make_agent(settings, resolver=world.resolver))
    answer = post(world, address="10.0.0.1", headers={"X-Forwarded-For": forwarded})
    assert answer.status_int == status


def test_an_ipv4_address_in_the_clothes_of_ipv6_is_the_same(sqlite_world: World):
    assert post(sqlite_world, address=f"::ffff:{A}").status_int == 201


def test_while_the_dns_is_down_the_sender_is_asked_to_try_again(sqlite_world: World):
    sqlite_world.resolver.failing = {"server.a.example"}
    answer = post(sqlite_world)
    assert answer.status_int == 503
    assert int(answer.headers["Retry-After"]) > 0
