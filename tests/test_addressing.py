"""Addresses that lead elsewhere: aliases, tags, a catch-all, inboxes that have moved."""

from urllib.parse import urlencode

import pytest
from sqlalchemy import event, insert
from webob import Response

from tests.world import ALICE, BOB, ZONE, World, basic, call
from xhmtp_wsgi.addressing import MOST_STEPS, Destination, Kind, aliases
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.errors import (
    Duplicate,
    Forbidden,
    Malformed,
    Misdirected,
    NotAuthenticated,
    NotFound,
)
from xhmtp_wsgi.group_register import add as add_group
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import filters, inbox, reading
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.injection import submit
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.site_users import SiteUsers

ALICE_THERE = "192.0.2.1"
CAROL = Endpoint.parse("carol@c.example")
ZONE_C = ZONE + (
    "_xhmtp._tcp.c.example. 60 SRV 0 0 8080 server.c.example.\n"
    '_prefix._xhmtp.c.example. 60 TXT "mine"\n'
    "server.c.example. 60 A 192.0.2.3\n"
)


def endpoint(text: str) -> Endpoint:
    return Endpoint.parse(text)


def alias(world: World, address: str, target: str, *, send: bool = False) -> None:
    """An alias at bob's agent."""
    world.b.agent.addressing.add(endpoint(address), endpoint(target), world.clock(), may_send=send)


def told(world: World, recipient: str) -> int:
    """A notification from alice's agent for that address; the answer's code."""
    return int(notified(world, recipient).status_int)


def notified(world: World, recipient: str, origin: str = ALICE_THERE) -> Response:
    """The same; the whole answer."""
    user = endpoint(recipient).quoted
    url = f"http://{user}:CODE@server.a.example/xhmtp/alice/abcdefghijklmnopqrstuvwxyz"
    form = {"url": url, "headers": "From: alice@a.example\r\nSubject: hello\r\n"}
    return call(
        world.b, f"/in/box/{recipient}", method="POST", body=urlencode(form).encode(),
        content_type="application/x-www-form-urlencoded", address=origin,
    )  # fmt: skip


def urls(world: World, owner: Endpoint = BOB) -> list[str]:
    found = inbox.page(world.b.agent.database, owner, newest=100, limit=100)
    return [notice.url for notice in found]


def send(world: World, recipient: str, author: str = "alice@a.example") -> int:
    """alice writes to that address; the answer's code."""
    message = f"From: {author}\r\nTo: {recipient}\r\nSubject: hello\r\n\r\nDear Bob\r\n"
    return int(world.inject(message.encode()).status_int)


def test_an_alias_leads_to_bobs_own_mailbox_and_he_reads_with_the_url_as_it_came(world: World):
    alias(world, "info@b.example", "bob@b.example")
    assert send(world, "Info@b.example") == 201
    assert world.notify().notified == 1
    (notice,) = inbox.page(world.b.agent.database, BOB, newest=9, limit=9)
    assert notice.url.startswith("http://Info%40b.example:")
    assert reading.read(world.b.agent, BOB, notice).octets.endswith(b"Dear Bob\r\n")
    (message,) = outbox.sent(world.a.agent.database, ALICE, limit=1, skip=0)
    (status,) = outbox.statuses(world.a.agent.database, message.identifier)
    assert (status.recipient, status.state) == ("Info@b.example", "fetched")


def test_aliases_lead_on_to_aliases(sqlite_world: World):
    alias(sqlite_world, "info@b.example", "bob@b.example")
    alias(sqlite_world, "office@b.example", "info@b.example")
    assert told(sqlite_world, "office@b.example") == 201
    assert len(urls(sqlite_world)) == 1


def test_a_tag_is_bobs_own_unless_somebody_has_that_very_name(sqlite_world: World):
    world = sqlite_world
    assert told(world, "bob+shop@b.example") == 201
    assert told(world, "BOB+a+b@b.example") == 201
    assert len(urls(world)) == 2
    world.b.agent.accounts.add(endpoint("bob+work@b.example"), None)
    assert told(world, "bob+work@b.example") == 201
    assert len(urls(world)) == 2
    assert len(urls(world, endpoint("bob+work@b.example"))) == 1
    assert told(world, "nobody+shop@b.example") == 404
    assert told(world, "+shop@b.example") == 404


def test_one_question_is_asked_whatever_an_address_is(world: World):
    agent = world.b.agent
    alias(world, "info@b.example", "carol@c.example")
    add_group(agent.database, endpoint("team@b.example"), world.clock())
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(agent.database.engine(), "before_cursor_execute", note)
    for name in ("bob", "info", "team", "team+leave", "bob+tag", "nobody", "nobody+tag"):
        agent.addressing.resolve(endpoint(f"{name}@b.example"))
    assert len({one for one in asked if one.startswith("SELECT")}) == 1
    assert len([one for one in asked if one.startswith("SELECT")]) == 7, "one for each of them"


def test_a_tag_of_an_alias_goes_where_the_alias_goes(sqlite_world: World):
    alias(sqlite_world, "info@b.example", "bob@b.example")
    assert told(sqlite_world, "info+shop@b.example") == 201
    assert len(urls(sqlite_world)) == 1


def test_a_catch_all_takes_what_nobody_has_and_is_off_by_default(sqlite_world: World):
    world = sqlite_world
    carla = endpoint("carla@b.example")
    world.b.agent.accounts.add(carla, None)
    assert told(world, "anything@b.example") == 404
    alias(world, "*@b.example", "carla@b.example")
    assert told(world, "anything@b.example") == 201
    assert told(world, "bob@b.example") == 201
    assert told(world, "bob+tag@b.example") == 201
    assert (len(urls(world, carla)), len(urls(world))) == (1, 2)
    world.b.agent.addressing.remove(endpoint("*@b.example"))
    assert told(world, "anything@b.example") == 404


def stored(world: World, *ways: tuple[str, str]) -> None:
    """Aliases as they may come to stand, whatever was said to each when it was made."""
    rows = [{"address": one, "target": other, "created_at": 0.0} for one, other in ways]
    with world.b.agent.database.transaction() as connection:
        connection.execute(insert(aliases), rows)


@pytest.mark.parametrize(("length", "answer"), [(MOST_STEPS - 1, 201), (MOST_STEPS, 404)])
def test_no_alias_is_followed_further_than_so_many_steps(
    sqlite_world: World, length: int, answer: int
):
    names = [f"n{number}@b.example" for number in range(length)]
    stored(sqlite_world, *zip(names, [*names[1:], "bob@b.example"], strict=True))
    assert told(sqlite_world, names[0]) == answer
    if length < MOST_STEPS:
        with pytest.raises(Malformed, match="further"):
            alias(sqlite_world, "more@b.example", names[0])


def test_a_circle_ends_nowhere_and_is_refused_when_it_is_made(sqlite_world: World):
    world = sqlite_world
    stored(world, ("one@b.example", "two@b.example"), ("two@b.example", "one@b.example"))
    assert told(world, "one@b.example") == 404
    assert not world.b.agent.addressing.may_send_as(BOB, endpoint("one@b.example"))
    alias(world, "*@b.example", "bob@b.example")
    for address, target in (
        ("three@b.example", "Three@b.example"),
        ("four@b.example", "one@b.example"),
        # The catch-all has what his target is, and leads back to him.
        ("bob@b.example", "gone@b.example"),
    ):
        with pytest.raises(Malformed):
            alias(world, address, target)


def test_what_cannot_be_an_alias(world: World):
    addressing = world.b.agent.addressing
    alias(world, "info@b.example", "bob@b.example")
    add_group(world.b.agent.database, endpoint("team@b.example"), world.clock())
    for address, target, error in (
        ("info@b.example", "bob@b.example", Duplicate),
        ("team@b.example", "bob@b.example", Duplicate),
        ("info@c.example", "bob@b.example", Misdirected),
        ("sales@b.example", "nobody@b.example", NotFound),
        ("sales@b.example", "*@b.example", Malformed),
    ):
        with pytest.raises(error):
            alias(world, address, target)
    with pytest.raises(Forbidden):
        alias(world, "*@b.example", "bob@b.example", send=True)
    with pytest.raises(NotFound):
        addressing.remove(endpoint("sales@b.example"))
    assert [str(one.address) for one in addressing.all()] == ["info@b.example"]


def test_a_name_of_ours_that_leads_nowhere_any_more_is_unknown(sqlite_world: World):
    world = sqlite_world
    world.b.agent.accounts.add(endpoint("dora@b.example"), None)
    alias(world, "info@b.example", "dora@b.example")
    world.b.agent.accounts.remove(endpoint("dora@b.example"))
    assert told(world, "info@b.example") == 404


def test_a_domain_that_hides_its_names_answers_alike_for_an_alias_and_for_nobody(
    sqlite_world: World,
):
    world = sqlite_world
    object.__setattr__(world.b.agent.settings.domains["b.example"], "unknown_recipients", "hide")
    alias(world, "info@b.example", "bob@b.example")
    known, unknown = notified(world, "info@b.example"), notified(world, "nobody@b.example")
    assert known.status_int == unknown.status_int == 202
    assert known.text.replace("info", "nobody") == unknown.text
    assert len(urls(world)) == 1


def test_injection_knows_aliases_tags_and_catch_alls_of_its_own_domain(sqlite_world: World):
    world = sqlite_world
    assert send(world, "info@a.example") == 422
    assert send(world, "alice+tag@a.example") == 201
    world.a.agent.addressing.add(endpoint("info@a.example"), ALICE, 0.0)
    assert send(world, "info@a.example") == 201
    assert send(world, "nobody@a.example") == 422
    world.a.agent.addressing.add(endpoint("*@a.example"), ALICE, 0.0)
    assert send(world, "nobody@a.example") == 201


# Filters


def test_rules_of_the_alias_come_before_those_of_whom_it_leads_to(sqlite_world: World):
    world, database = sqlite_world, sqlite_world.b.agent.database
    alias(world, "info@b.example", "bob@b.example")
    filters.add(database, "bob@b.example", Action.REFUSE, "*")
    assert told(world, "info@b.example") == 403
    filters.add(database, "info@b.example", Action.ACCEPT, "*")
    assert told(world, "info@b.example") == 201
    assert told(world, "bob@b.example") == 403
    filters.add(database, "b.example", Action.REFUSE, "*@a.example")
    assert told(world, "info@b.example") == 403


# Forwarding


def test_an_inbox_at_another_agent_is_told_with_308_and_alice_hears_of_it(world: World):
    world.resolver.set_zone(ZONE_C)
    alias(world, "bob@b.example", "carol@c.example")
    answer = notified(world, "bob@b.example")
    assert answer.status_int == 308
    assert answer.headers["Location"] == "http://server.c.example:8080/mine/carol%40c.example"
    assert urls(world) == [], "nothing is kept here"

    seen = []

    def carols(environ, start_response):
        seen.append(environ["PATH_INFO"])
        start_response("201 Created", [])
        return [b""]

    world.network.hosts["server.c.example"] = carols
    assert send(world, "bob@b.example") == 201
    assert world.notify().notified == 2, "bob, and alice of his move"
    assert seen == ["/mine/carol@c.example"]
    (message,) = outbox.sent(world.a.agent.database, ALICE, limit=9, skip=0)
    (status,) = outbox.statuses(world.a.agent.database, message.identifier)
    assert status.moved_to == "carol@c.example"
    (report,) = inbox.page(world.a.agent.database, ALICE, newest=9, limit=9)
    assert fields_of(report)["subject"] == "Moved: hello"


def test_where_an_inbox_is_now_is_told_to_no_forger(sqlite_world: World):
    world = sqlite_world
    world.resolver.set_zone(ZONE_C)
    alias(world, "bob@b.example", "carol@c.example")
    answer = notified(world, "bob@b.example", origin="192.0.2.66")
    assert answer.status_int == 403
    assert "Location" not in answer.headers
    filters.add(world.b.agent.database, "bob@b.example", Action.REFUSE, "alice@a.example")
    assert told(world, "bob@b.example") == 403


def test_a_forward_waits_while_the_dns_does_not_tell_and_ends_where_it_says_nowhere(
    sqlite_world: World,
):
    world = sqlite_world
    alias(world, "bob@b.example", "carol@c.example")
    world.resolver.failing.add("_xhmtps._tcp.c.example")
    answer = notified(world, "bob@b.example")
    assert (answer.status_int, "Retry-After" in answer.headers) == (503, True)
    world.resolver.failing.clear()
    assert told(world, "bob@b.example") == 404
    assert world.network.posts == [], "no web process of ours opens a connection"


# Writing as an alias


def test_whom_an_alias_leads_to_writes_in_its_name_if_it_lets_him(world: World):
    agent = world.a.agent
    agent.addressing.add(endpoint("press@a.example"), ALICE, 0.0, may_send=True)
    agent.addressing.add(endpoint("quiet@a.example"), ALICE, 0.0)
    assert send(world, "bob@b.example", "quiet@a.example") == 403
    assert send(world, "bob@b.example", "bob@b.example") == 403
    assert send(world, "bob@b.example", "Press@a.example") == 201
    assert send(world, "bob@b.example", "alice+shop@a.example") == 201
    assert world.notify().notified == 2
    found = inbox.page(world.b.agent.database, BOB, newest=9, limit=9)
    assert all({check.result for check in notice.checks if check.name != "signature"} == {"pass"}
               for notice in found)  # fmt: skip
    assert not any("/alice/" in notice.url for notice in found), "the URL names the alias"
    sent = outbox.sent(agent.database, ALICE, limit=9, skip=0)
    assert len(sent) == 2, "and yet they are among what alice has sent"
    assert reading.read(world.b.agent, BOB, found[0]).octets.endswith(b"Dear Bob\r\n")


def test_nobody_writes_as_an_alias_that_leads_to_another(sqlite_world: World):
    agent = sqlite_world.a.agent
    agent.accounts.add(endpoint("dora@a.example"), None)
    agent.addressing.add(endpoint("press@a.example"), ALICE, 0.0, may_send=True)
    agent.addressing.add(endpoint("dora+x@a.example"), ALICE, 0.0)
    assert send(sqlite_world, "bob@b.example", "dora@a.example") == 403
    assert send(sqlite_world, "bob@b.example", "dora+x@a.example") == 403
    assert not agent.addressing.may_send_as(endpoint("dora@a.example"), endpoint("press@a.example"))
    assert send(sqlite_world, "bob@b.example", "alice+x@c.example") == 403


def test_an_alias_of_another_domain_of_ours_writes_from_that_domain(sqlite_world: World):
    """The message's URL lies at an agent of the domain in From, or the agent check would fail."""
    world = sqlite_world
    agent = make_agent(
        Settings.load({"database": str(world.a.agent.database.engine().url),
                       "domain": {"a.example": {}, "d.example": {}}}),
        resolver=world.resolver, network=world.network,  # type: ignore[arg-type]
        clock=world.clock, monotonic=world.clock,
    )  # fmt: skip
    world.resolver.set_zone(
        ZONE + "_xhmtp._tcp.d.example. 60 SRV 0 0 80 server.d.example.\n"
        '_prefix._xhmtp.d.example. 60 TXT "dd"\nserver.d.example. 60 A 192.0.2.1\n'
    )
    object.__setattr__(world.a, "agent", agent)
    agent.addressing.add(endpoint("press@d.example"), ALICE, 0.0, may_send=True)
    world.network.addresses = {**world.network.addresses, "server.d.example": "192.0.2.1"}
    message = b"From: press@d.example\r\nTo: bob@b.example\r\n\r\nx"
    submit(agent, [message], "alice@a.example", None)
    assert world.notify().notified == 1
    (notice,) = inbox.page(world.b.agent.database, BOB, newest=9, limit=9)
    assert "@server.d.example/dd/press/" in notice.url
    assert {check.name: check.result for check in notice.checks}["agent"] == "pass"
    agent.database.close()


# Users of the site


class Anybody(SiteUsers):
    """A site where everybody may call himself what he likes."""

    def exists(self, address: str) -> bool:
        return True

    def check_password(self, address: str, password: str) -> bool:
        return True

    def logged_in(self, environ):
        return environ.get("REMOTE_USER")


def test_no_user_of_the_site_gets_a_groups_or_an_aliases_messages_by_his_name(
    sqlite_world: World, tmp_path
):
    world = sqlite_world
    agent = make_agent(
        Settings.load({"database": f"sqlite:///{tmp_path}/s.db", "domain": {"b.example": {}}}),
        resolver=world.resolver, users=Anybody(), clock=world.clock, monotonic=world.clock,
    )  # fmt: skip
    team, info = endpoint("team@b.example"), endpoint("info@b.example")
    add_group(agent.database, team, 0.0)
    agent.addressing.add(info, BOB, 0.0)
    assert agent.addressing.resolve(team) == Destination(Kind.GROUP, team)
    assert agent.addressing.resolve(info) == Destination(Kind.MAILBOX, BOB)
    with pytest.raises(NotAuthenticated):
        agent.accounts.authenticate(team, "x")
    assert agent.accounts.logged_in({"REMOTE_USER": "team"}) is None
    assert agent.accounts.find(team) is None
    with pytest.raises(Duplicate):
        agent.accounts.add(team, "password")
    assert agent.accounts.logged_in({"REMOTE_USER": "eve"}) is not None
    agent.database.close()


def test_a_group_is_made_once(world: World):
    team = endpoint("team@b.example")
    add_group(world.b.agent.database, team, 0.0)
    with pytest.raises(Duplicate):
        add_group(world.b.agent.database, team, 0.0)


def test_a_groups_feed_is_nobodys(sqlite_world: World):
    world = sqlite_world
    add_group(world.b.agent.database, endpoint("team@b.example"), 0.0)
    for password in ("builder", "", "team"):
        answer = call(
            world.b, "/in/box/team@b.example", authorization=basic("team@b.example", password)
        )
        assert answer.status_int == 401
