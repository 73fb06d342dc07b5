"""The mailbox as resources: what each does, who may ask, and what is refused."""

import json
import threading
from typing import Any

import pytest
from openapi_spec_validator import validate
from webob import Response

from tests.test_mailbox import send
from tests.world import BOB, World, basic, call
from xhmtp_wsgi.rest.answering import OPERATIONS
from xhmtp_wsgi.rest.description import description

BUILDER = basic("bob@b.example", "builder")
WONDERLAND = basic("alice@a.example", "wonderland")


def api(world: World, path: str, method: str = "GET", body: Any = None, **options: Any) -> Response:
    """bob's resources."""
    given: dict[str, Any] = {} if body is None else {"body": json.dumps(body).encode()}
    options.setdefault("authorization", BUILDER)
    headers = options.pop("headers", {})
    if body is not None:
        headers = {"Content-Type": "application/json", **headers}
    return call(
        world.b,
        f"/in/box/bob@b.example/api{path}",
        method=method,
        headers=headers,
        **given,
        **options,
    )


def alices(world: World, path: str, method: str = "GET", body: Any = None) -> Response:
    given: dict[str, Any] = {} if body is None else {"body": json.dumps(body).encode()}
    return call(
        world.a, f"/xhmtp/alice@a.example/api{path}", method=method, authorization=WONDERLAND,
        headers={"Content-Type": "application/json"}, **given,
    )  # fmt: skip


# What came


def test_the_mailbox_tells_its_folders_and_what_is_unseen(world: World):
    send(world, "one")
    told = api(world, "").json
    assert told["address"] == "bob@b.example"
    assert [(one["name"], one["unseen"]) for one in told["folders"]] == [
        ("inbox", 1), ("archive", 0), ("trash", 0),
    ]  # fmt: skip


def test_messages_are_listed_in_pages_marked_moved_and_deleted(world: World):
    for number in range(3):
        send(world, f"m{number}")
    first = api(world, "/messages?limit=2").json
    assert [one["subject"] for one in first["items"]] == ["m2", "m1"]
    rest = api(world, f"/messages?limit=2&before={first['before']}").json
    assert [one["subject"] for one in rest["items"]] == ["m0"]
    assert "before" not in rest
    path = f"/messages/{first['items'][0]['id']}"
    changed = api(world, path, "PATCH", {"seen": True, "starred": True, "folder": "archive"}).json
    assert (changed["seen"], changed["starred"], changed["folder"]) == (True, True, "archive")
    assert api(world, path).json == changed
    assert len(api(world, "/messages?unseen=true").json["items"]) == 2
    assert len(api(world, "/messages?folder=archive&starred=true").json["items"]) == 1
    assert api(world, path, "DELETE").status_int == 204
    assert api(world, path).status_int == 404
    assert api(world, path, "DELETE").status_int == 404
    assert api(world, path, "PATCH", {"seen": True}).status_int == 404


def test_a_message_tells_its_url_and_what_was_checked(world: World):
    send(world, "checked")
    (found,) = api(world, "/messages").json["items"]
    assert found["url"].startswith("http://bob%40b.example:")
    assert {one["name"]: one["result"] for one in found["checks"]}["origin"] == "pass"
    assert found["kept"] is False
    assert "no copy of it is kept" in api(world, f"/messages/{found['id']}/content").json["detail"]


def test_a_copy_that_is_kept_is_given_out_octet_by_octet(world: World):
    from xhmtp_wsgi.recipient import kept_copies

    send(world, "kept")
    (found,) = api(world, "/messages").json["items"]
    octets = bytes(range(256)) * 2000
    kept_copies.keep(world.b.agent.database, found["id"], octets, (), 1.0)
    answer = api(world, f"/messages/{found['id']}/content")
    assert (answer.body, answer.content_type) == (octets, "message/rfc822")
    assert api(world, f"/messages/{found['id']}").json["kept"] is True


def test_what_is_in_quarantine_is_released_or_dropped(world: World):
    rule = {"action": "quarantine", "who": "*@a.example"}
    assert api(world, "/filters", "POST", rule).status_int == 201
    send(world, "one")
    send(world, "two")
    assert api(world, "/messages").json["items"] == []
    two, one = api(world, "/quarantine").json["items"]
    assert api(world, f"/quarantine/{one['id']}/release", "POST", {}).status_int == 200
    assert api(world, f"/quarantine/{two['id']}", "DELETE").status_int == 204
    assert [found["subject"] for found in api(world, "/messages").json["items"]] == ["one"]
    assert api(world, "/quarantine").json["items"] == []
    assert api(world, f"/quarantine/{two['id']}/release", "POST", {}).status_int == 404


def test_search_finds_what_came_and_what_was_sent(world: World):
    send(world, "a kangaroo")
    (hit,) = api(world, "/search?q=kang").json["items"]
    assert hit["kind"] == "notice"
    assert api(world, f"/messages/{hit['id']}").json["subject"] == "a kangaroo"
    (hit,) = alices(world, "/search?q=kang").json["items"]
    assert hit["kind"] == "sent"
    assert alices(world, f"/sent/{hit['id']}").json["subject"] == "a kangaroo"


def test_a_conversation_is_what_came_of_it(world: World):
    send(world, "first", "Message-ID: <1@a.example>")
    send(world, "Re: first", "Message-ID: <2@a.example>", "References: <1@a.example>")
    (_, first) = api(world, "/messages").json["items"]
    found = api(world, f"/conversations/{first['thread']}").json["items"]
    assert [one["subject"] for one in found] == ["first", "Re: first"]


def test_waiting_for_news_ends_with_the_news(world: World):
    version = api(world, "").json["version"]
    told: list[dict[str, Any]] = []

    def wait() -> None:
        # The clock of this world stands still: it waits until something comes.
        environment = {"wsgi.multithread": True}
        answer = api(world, f"/changes?since={version}&wait=5", environ=environment)
        told.append(answer.json)

    waiting = threading.Thread(target=wait)
    waiting.start()
    send(world, "news")
    waiting.join(20)
    assert told[0]["version"] > version
    assert told[0]["last-position"] == 1


def test_nobody_waits_where_that_would_keep_the_worker_from_others(sqlite_world: World):
    version = api(sqlite_world, "").json["version"]
    told = api(
        sqlite_world, f"/changes?since={version}&wait=55", environ={"wsgi.multithread": False}
    )
    assert told.json["version"] == version, "it came back, though this world's clock stands still"


# What goes


def test_a_message_is_sent_watched_and_withdrawn(world: World):
    new = {
        "to": ["bob@b.example"], "subject": "Grüße", "text": "Dear Bob\n",
        "message-id": "<x@a.example>",
    }  # fmt: skip
    sent = alices(world, "/sent", "POST", new)
    assert sent.status_int == 201
    assert sent.headers["Location"] == f"/xhmtp/alice@a.example/api/sent/{sent.json['id']}"
    again = alices(world, "/sent", "POST", new)
    assert (again.status_int, again.json["id"]) == (200, sent.json["id"])
    world.notify()
    told = alices(world, f"/sent/{sent.json['id']}").json
    assert told["subject"] == "Grüße"
    assert [(one["address"], one["state"]) for one in told["recipients"]] == [
        ("bob@b.example", "notified")
    ]
    octets = alices(world, f"/sent/{sent.json['id']}/content").body
    assert b"Dear Bob" in octets
    gone = alices(world, f"/sent/{sent.json['id']}", "DELETE").json
    assert gone["withdrawn"] is not None
    assert alices(world, f"/sent/{sent.json['id']}/content").status_int == 410
    assert [one["id"] for one in alices(world, "/sent").json["items"]] == [sent.json["id"]]


def test_a_recipient_that_cannot_be_is_named_and_nothing_is_sent(world: World):
    told = alices(world, "/sent", "POST", {"to": ["nobody@a.example", "bob@b.example"]})
    assert told.status_int == 422
    assert list(told.json["recipients"]) == ["nobody@a.example"]
    assert alices(world, "/sent").json["items"] == []


def test_nobody_sees_what_another_has_sent(world: World):
    sent = alices(world, "/sent", "POST", {"to": ["bob@b.example"]}).json
    for path in (f"/sent/{sent['id']}", f"/sent/{sent['id']}/content"):
        assert api(world, path).status_int == 404
    assert api(world, f"/sent/{sent['id']}", "DELETE").status_int == 404


def test_a_draft_is_begun_changed_and_thrown_away(world: World):
    begun = api(world, "/drafts", "POST", {"to": "alice@a.example", "text": "Dear"})
    assert begun.status_int == 201
    path = f"/drafts/{begun.json['id']}"
    assert api(world, path, "PUT", {"text": "Dear Alice"}).json["text"] == "Dear Alice"
    assert [one["text"] for one in api(world, "/drafts").json["items"]] == ["Dear Alice"]
    assert api(world, path, "DELETE").status_int == 204
    assert api(world, path).status_int == 404


def test_a_token_is_told_once_and_reads_the_feed_and_nothing_else(world: World):
    made = api(world, "/tokens", "POST", {"label": "phone"}).json
    assert call(world.b, made["feed"]).status_int == 200
    (listed,) = api(world, "/tokens").json["items"]
    assert "token" not in listed
    as_password = basic("bob@b.example", made["token"])
    assert api(world, "", authorization=as_password).status_int == 401
    in_query = f"?token={made['token']}"
    assert api(world, in_query, authorization=None).status_int == 401
    assert api(world, f"/tokens{in_query}", authorization=None).status_int == 401
    assert api(world, f"/tokens/{listed['id']}", "DELETE").status_int == 204
    assert call(world.b, made["feed"]).status_int == 401


def test_filters_are_added_and_removed(world: World):
    rule = {"action": "refuse", "who": "*@spam.example", "header": "Subject", "pattern": "*win*"}
    added = api(world, "/filters", "POST", rule)
    assert added.status_int == 201
    assert api(world, "/filters").json["items"] == [added.json]
    assert api(world, f"/filters/{added.json['id']}", "DELETE").status_int == 204
    assert api(world, f"/filters/{added.json['id']}", "DELETE").status_int == 404


# Who may ask


def test_only_the_owner_with_his_password_is_answered(sqlite_world: World):
    for operation in OPERATIONS:
        path = operation.path.replace("{id}", "x").replace("{thread}", "x")
        answer = api(sqlite_world, f"/{path}".rstrip("/"), operation.method, {}, authorization=None)
        assert answer.status_int == 401, operation.name
    for authorization in (WONDERLAND, basic("bob@b.example", "wrong"), basic("bob@b.example", "")):
        for path in ("", "/messages"):
            assert api(sqlite_world, path, authorization=authorization).status_int == 401


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_page_may_not_change_anything(sqlite_world: World, site: str):
    for operation in OPERATIONS:
        if operation.method == "GET":
            continue
        path = operation.path.replace("{id}", "x").replace("{thread}", "x")
        answer = api(
            sqlite_world, f"/{path}", operation.method, {}, headers={"Sec-Fetch-Site": site}
        )
        assert answer.status_int == 403, operation.name


def test_a_form_of_another_site_is_no_json(sqlite_world: World):
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        answer = api(
            sqlite_world, "/tokens", "POST", {"label": "x"}, headers={"Content-Type": kind}
        )
        assert answer.status_int == 415


# What is refused


@pytest.mark.parametrize(
    ("path", "method", "body", "said"),
    [
        ("/messages?limit=0", "GET", None, "limit"),
        ("/messages?limit=x", "GET", None, "limit"),
        ("/messages?limit=1&limit=2", "GET", None, "limit is there 2 times"),
        ("/messages?no=1", "GET", None, "there is no parameter 'no'"),
        ("/messages?unseen=maybe", "GET", None, "unseen"),
        ("/messages?folder=a%0A", "GET", None, "folder"),
        ("/changes?wait=56", "GET", None, "wait"),
        ("/messages/x", "PATCH", {}, "the body"),
        ("/messages/x", "PATCH", {"seen": 1}, "the body at seen"),
        ("/messages/x", "PATCH", {"seem": True}, "the body"),
        ("/sent", "POST", {"to": "bob@b.example"}, "the body at to"),
        ("/sent", "POST", {"to": ["bob@b.example"], "subject": "a\nBcc: x@y.example"}, "subject"),
        ("/sent", "POST", {"to": ["bob@b.example"], "message-id": "<x>\n"}, "message-id"),
        ("/sent", "POST", [], "the body"),
        ("/filters", "POST", {"action": "eat", "who": "*"}, "action"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_place(
    sqlite_world: World, path: str, method: str, body: Any, said: str
):
    answer = api(sqlite_world, path, method, body)
    assert (answer.status_int, answer.content_type) == (400, "application/problem+json")
    assert said in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/filters", {"action": "refuse", "who": "a*b"}, "is none of"),
        ("/filters", {"action": "refuse", "who": "*", "header": "X"}, "go together"),
        ("/sent", {"to": ["no address"]}, "no address"),
        ("/sent", {}, "no recipient"),
    ],
)
def test_what_means_nothing_here_is_refused_with_the_reason(
    sqlite_world: World, path: str, body: Any, said: str
):
    answer = api(sqlite_world, path, "POST", body)
    assert answer.status_int == 422
    assert said in answer.json["detail"]


@pytest.mark.parametrize(
    "octets", [b"", b"{", b"\xff", b"NaN", b'{"label": NaN}', b"[" * 100_000, b"{}" * 2]
)
def test_what_is_no_json_is_refused(sqlite_world: World, octets: bytes):
    answer = call(
        sqlite_world.b, "/in/box/bob@b.example/api/tokens", method="POST", authorization=BUILDER,
        headers={"Content-Type": "application/json"}, body=octets,
    )  # fmt: skip
    assert answer.status_int == 400


def test_a_method_that_a_resource_has_not_is_told_those_it_has(sqlite_world: World):
    answer = api(sqlite_world, "/messages", "POST", {})
    assert (answer.status_int, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert api(sqlite_world, "/nothing").status_int == 404
    assert api(sqlite_world, "/messages/a/b/c").status_int == 404


# The description


def test_the_description_is_served_to_everybody_and_is_openapi(sqlite_world: World):
    served = call(sqlite_world.b, "/in/box/openapi.json")
    assert (served.status_int, served.content_type) == (200, "application/json")
    validate(served.json)
    assert served.json == json.loads(json.dumps(description("/in/box")))
    assert served.json["servers"][0]["url"] == "/in/box/{address}/api"
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)


def test_the_owner_is_found_in_any_case(sqlite_world: World):
    answer = call(sqlite_world.b, "/in/box/Bob@B.example/api", authorization=BUILDER)
    assert answer.json["address"] == str(BOB)
    answer = call(sqlite_world.b, "/in/box/bob@b.example/api/", authorization=BUILDER)
    assert answer.json["address"] == str(BOB)
