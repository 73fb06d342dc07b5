"""Keys to seal to: fetched and verified, first seen remembered, a change shown, attacks named."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.fakes.resolver import FakeResolver
from tests.fakes.web_server import LOOPBACK, Visit, WebServer, always
from tests.test_signature import NAME, SEED, Published, public
from tests.world import ALICE, BOB, World
from xhmtp_wsgi import Settings
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.dns_resolver import CachingResolver
from xhmtp_wsgi.errors import (
    BadDomain,
    ConnectionFailed,
    DeadlineExceeded,
    DNSUnavailable,
    Forbidden,
    NotFound,
    SignatureInvalid,
    TooLarge,
    XHMTPError,
)
from xhmtp_wsgi.key_lookup import EMPTY_GOOD_FOR, GOOD_FOR, MOST, look_up
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.published_keys import KeyList, fingerprint
from xhmtp_wsgi.protocol.response_signature import sign_response
from xhmtp_wsgi.protocol.sealing import HYBRID, X25519, Identity, Recipient
from xhmtp_wsgi.protocol.signature import KeyName, key_record
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.recipient.reading import keys_over_network
from xhmtp_wsgi.sender import author_keys, recipient_keys, sealing_keys
from xhmtp_wsgi.sender.fetched_keys import fetched_keys
from xhmtp_wsgi.sender.parallel_lookup import AT_ONCE, AT_ONE_DOMAIN, ParallelLookup
from xhmtp_wsgi.sender.recipient_keys import RecipientKeys, keys_for

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK8+aAwmHUoxLRZZbAegYsztJFocLFaamIoykDWD7hZ6"
ONE, OTHER, MALLORYS = (Identity(X25519, bytes([number]) * 32).recipient for number in (1, 2, 9))
QUANTUM = Identity(HYBRID, bytes([3]) * 32).recipient
CHERYL = Endpoint.parse("cheryl@b.example")
TYPE = "text/plain; charset=utf-8"


@dataclass
class Between:
    """What stands between the agents: it counts, and changes answers where told to."""

    world: World
    published: Published
    key: KeyName
    asked: int = 0
    change: Callable[[HTTPAnswer], HTTPAnswer] | None = None

    def publish(self, *recipients: Recipient, owner: Endpoint = BOB) -> None:
        for recipient in recipients:
            database = self.world.b.agent.database
            sealing_keys.add(database, owner, recipient, self.world.clock(), replace=False)

    def instead(self, *recipients: Recipient, owner: Endpoint = BOB) -> None:
        """These, and no others."""
        sealing_keys.forget(self.world.b.agent.database, owner)
        self.publish(*recipients, owner=owner)

    def keys(self, **options: Any) -> RecipientKeys:
        """bob's keys, as alice's agent finds them."""
        options.setdefault("within", 5.0)
        return keys_for(self.world.a.agent, ALICE, [BOB], **options)[BOB]

    def later(self, seconds: float = GOOD_FOR + 1) -> None:
        self.world.clock.now += seconds


@pytest.fixture
def between(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    """bob's domain signs what it publishes; whatever alice's agent gets passes through here."""
    signer = world.b.agent.signing_keys.add("b.example")
    published = Published(world)
    published.publish((signer.name, signer.public))
    made = Between(world, published, signer.name)
    real = world.network.get

    def get(*arguments: Any, **options: Any) -> HTTPAnswer:
        made.asked += 1
        answer = real(*arguments, **options)
        return answer if made.change is None else made.change(answer)

    monkeypatch.setattr(world.network, "get", get)
    yield made


# What is found


def test_the_keys_of_an_address_are_found_and_first_seen_now(between: Between):
    between.publish(ONE, OTHER)
    found = between.keys()
    assert found.problem == "" and found.is_new and found.changed == ""
    assert set(found.recipients) == {ONE, OTHER}
    assert not between.keys().is_new, "only the first time"


def test_all_that_is_told_of_a_list_is_verified(between: Between):
    between.publish(ONE)
    author_keys.add_key(between.world.b.agent.database, BOB, PublicKey.parse(LINE), 0.0)
    found = look_up(between.world.a.agent, BOB, 5.0)
    assert (found.endpoint, found.signed_by) == (BOB, between.key)
    assert found.sealing == (ONE,) and [key.line() for key in found.signing] == [LINE]
    assert found.good_until == between.world.clock() + GOOD_FOR


def test_who_publishes_no_key_is_said_to(between: Between):
    found = between.keys()
    assert found == RecipientKeys(BOB, problem="bob@b.example publishes no key to seal to")


def test_post_quantum_keys_come_over_as_they_are(between: Between):
    between.publish(QUANTUM)
    assert between.keys().recipients == (QUANTUM,)


def test_keys_of_our_own_users_are_read_without_a_connection(between: Between):
    agent = between.world.b.agent
    between.publish(ONE, owner=CHERYL)
    agent.accounts.add(CHERYL, None)
    between.world.network.hosts.clear()
    found = keys_for(agent, BOB, [CHERYL], within=5.0)[CHERYL]
    assert (found.recipients, found.problem, between.asked) == ((ONE,), "", 0)


# What is kept


def test_a_list_is_asked_for_once_an_hour(between: Between):
    between.publish(ONE)
    between.keys()
    between.later(GOOD_FOR - 1)
    assert between.keys().recipients == (ONE,)
    assert between.asked == 1
    between.later(2)
    assert between.keys().recipients == (ONE,)
    assert between.asked == 2


def test_an_empty_list_is_asked_for_again_after_five_minutes(between: Between):
    between.keys()
    between.publish(ONE)
    between.later(EMPTY_GOOD_FOR - 1)
    assert between.keys().recipients == ()
    between.later(2)
    assert between.keys().recipients == (ONE,)


@pytest.mark.parametrize(
    ("headers", "kept_for"),
    [({"cache-control": "max-age=60"}, 60), ({"cache-control": "no-store, max-age=60"}, 0),
     ({"cache-control": "no-cache"}, 0), ({"cache-control": "max-age=999999999"}, GOOD_FOR),
     ({"cache-control": ""}, GOOD_FOR), ({"age": "600"}, GOOD_FOR - 600), ({"age": "9999"}, 0),
     ({"cache-control": "MAX-AGE=100", "age": "40"}, 60), ({"cache-control": "max-age=x"}, 0)],
)  # fmt: skip
def test_a_list_is_kept_as_long_as_its_agent_says(
    between: Between, headers: Mapping[str, str], kept_for: float
):
    between.publish(ONE)
    between.change = lambda answer: replace(answer, headers={**answer.headers, **headers})
    found = look_up(between.world.a.agent, BOB, 5.0)
    assert found.good_until == between.world.clock() + kept_for


def test_a_list_is_not_kept_beyond_its_signature(between: Between):
    between.publish(ONE)
    answers: list[HTTPAnswer] = []

    def old(answer: HTTPAnswer) -> HTTPAnswer:
        answers.append(answer)
        return answers[0]

    between.change = old
    first = look_up(between.world.a.agent, BOB, 5.0)
    between.later(5400)
    again = look_up(between.world.a.agent, BOB, 5.0)
    assert again.good_until - first.good_until == 3600, "it was signed for two hours"


def test_what_was_kept_too_long_is_not_used_when_the_agent_is_gone(between: Between):
    between.publish(ONE)
    between.keys()
    between.world.network.hosts.clear()
    assert between.keys().recipients == (ONE,), "still good"
    between.later()
    found = between.keys()
    assert found.recipients == ()
    assert "are not to be had" in found.problem and "is not there" in found.problem
    assert found.known_since is not None, "that there were some is known"


def test_a_clock_that_was_set_back_makes_nothing_good_for_longer(between: Between):
    between.publish(ONE)
    between.keys()
    between.later(-100_000)
    between.keys()
    assert between.asked == 2


def test_lists_that_are_good_no_more_are_not_kept(between: Between):
    between.publish(ONE)
    between.keys()
    between.later()
    keys_for(between.world.a.agent, ALICE, [CHERYL], within=5.0)
    with between.world.a.agent.database.reading() as connection:
        addresses = connection.execute(select(fetched_keys.c.address)).scalars().all()
    assert addresses == [str(CHERYL)]


def test_failures_are_not_kept_and_not_asked_for_twice(between: Between):
    between.publish(ONE)
    between.change = lambda _: HTTPAnswer(503, {}, b"")
    agent = between.world.a.agent
    found = keys_for(agent, ALICE, [BOB, BOB], within=5.0)
    assert list(found) == [BOB] and between.asked == 1
    assert "answered 503" in found[BOB].problem
    between.change = None
    assert between.keys().recipients == (ONE,)


# What is remembered


def changed(between: Between) -> RecipientKeys:
    """bob has another key than the one that alice knows."""
    between.publish(ONE)
    between.keys()
    between.instead(OTHER)
    between.later()
    return between.keys()


def test_a_key_that_was_not_known_is_not_used(between: Between):
    found = changed(between)
    assert found.recipients == ()
    assert found.problem == (
        "the keys of bob@b.example have changed since 2027-01-15: "
        f"{fingerprint(OTHER)} was not there then, known was {fingerprint(ONE)}; "
        "ask him by another way"
    )
    assert found.problem.startswith(found.changed)
    assert between.keys().recipients == (), "asked again, nothing is taken for granted"


def test_what_was_accepted_is_known_in_place_of_the_other(between: Between):
    changed(between)
    accepted = between.keys(accept_new=True)
    assert accepted.recipients == (OTHER,) and accepted.problem == ""
    assert fingerprint(OTHER) in accepted.changed
    assert between.keys() == RecipientKeys(BOB, (OTHER,), known_since=between.world.clock()), (
        "since now"
    )
    between.instead(ONE)
    between.later()
    assert "have changed" in between.keys().problem, "the one that was replaced is a stranger"


def test_an_added_key_is_a_change_too(between: Between):
    between.publish(ONE)
    between.keys()
    between.publish(OTHER)
    between.later()
    found = between.keys()
    assert found.recipients == ()
    assert f"{fingerprint(OTHER)} was not there then" in found.problem


def test_a_key_that_goes_away_is_no_change_and_may_come_back(between: Between):
    between.publish(ONE, OTHER)
    between.keys()
    between.instead(ONE)
    between.later()
    assert between.keys().recipients == (ONE,)
    between.instead(OTHER)
    between.later()
    found = between.keys()
    assert (found.recipients, found.changed) == ((OTHER,), "")


def test_who_publishes_no_key_any_more_is_named(between: Between):
    between.publish(ONE)
    between.keys()
    between.instead()
    between.later()
    for accept in (False, True):
        found = between.keys(accept_new=accept)
        assert found.recipients == ()
        assert found.problem == (
            f"bob@b.example publishes no key any more; known since 2027-01-15 is {fingerprint(ONE)}"
        )
    between.publish(ONE)
    between.later()
    assert between.keys().recipients == (ONE,)


def test_from_post_quantum_to_others_is_a_change(between: Between):
    between.publish(QUANTUM)
    between.keys()
    between.instead(ONE)
    between.later()
    assert "(post-quantum)" in between.keys().problem


def test_many_keys_are_told_in_a_short_sentence(between: Between):
    between.publish(ONE)
    between.keys()
    many = [Identity(X25519, bytes([number]) * 32).recipient for number in range(20, 29)]
    between.instead(*many)
    between.later()
    problem = between.keys().problem
    assert "and 6 more were not there then" in problem and len(problem) < 400


def test_each_sender_knows_for_herself(between: Between):
    changed(between)
    other = Endpoint.parse("alan@a.example")
    found = keys_for(between.world.a.agent, other, [BOB], within=5.0)[BOB]
    assert found.is_new and found.recipients == (OTHER,)


def test_a_look_alone_remembers_nothing(between: Between):
    between.publish(ONE)
    assert between.keys(remember=False).is_new
    between.instead(OTHER)
    between.later()
    assert between.keys(remember=False).is_new, "the first was never used"
    between.keys()
    between.instead(MALLORYS)
    between.later()
    shown = between.keys(remember=False, accept_new=True)
    assert shown.recipients == (MALLORYS,) and shown.changed
    assert between.keys().problem, "shown is not accepted"


def test_what_was_shown_is_what_is_used_next(between: Between):
    between.publish(ONE)
    between.keys(remember=False)
    between.instead(MALLORYS)
    assert between.keys().recipients == (ONE,)


def test_one_person_in_two_spellings_has_one_first_list(between: Between):
    between.publish(ONE)
    shouted = Endpoint.parse("BOB@b.example")
    found = keys_for(between.world.a.agent, ALICE, [BOB, shouted], within=5.0)
    assert [one.recipients for one in found.values()] == [(ONE,), (ONE,)]
    assert [known.address for known in recipient_keys.known(
        between.world.a.agent.database, ALICE
    )] == [BOB]  # fmt: skip


def test_who_was_first_at_the_same_time_decides(between: Between, monkeypatch: pytest.MonkeyPatch):
    """Two messages of hers at once, and two answers: one of them is asked about."""
    between.publish(ONE)
    real = recipient_keys._remember

    def another_was_first(*arguments: Any) -> None:
        monkeypatch.setattr(recipient_keys, "_remember", real)
        between.instead(OTHER)
        with between.world.a.agent.database.transaction() as connection:
            connection.execute(fetched_keys.delete())
        assert between.keys().recipients == (OTHER,)
        real(*arguments)

    monkeypatch.setattr(recipient_keys, "_remember", another_was_first)
    found = between.keys()
    assert found.recipients == () and "have changed" in found.problem


def test_what_is_known_is_listed_and_forgotten(between: Between):
    agent = between.world.a.agent
    between.publish(ONE)
    between.publish(OTHER, owner=CHERYL)
    between.world.b.agent.accounts.add(CHERYL, None)
    keys_for(agent, ALICE, [CHERYL, BOB], within=5.0)
    (bobs, cheryls) = recipient_keys.known(agent.database, ALICE)
    assert (bobs.address, bobs.recipients) == (BOB, (ONE,))
    assert (cheryls.address, cheryls.recipients) == (CHERYL, (OTHER,))
    assert bobs.first_seen_at == between.world.clock()
    recipient_keys.forget(agent.database, ALICE, BOB)
    with pytest.raises(NotFound, match="no keys of bob@b"):
        recipient_keys.forget(agent.database, ALICE, BOB)
    assert between.keys().is_new
    recipient_keys.forget_all(agent.database, ALICE)
    assert recipient_keys.known(agent.database, ALICE) == []


# Attacks


def body(*recipients: Recipient, owner: Endpoint | None = BOB) -> bytes:
    return KeyList(owner, (), recipients).text().encode("ascii")


def signed(octets: bytes, name: KeyName, *, now: float, seed: bytes = SEED) -> HTTPAnswer:
    fields = sign_response(content_type=TYPE, body=octets, seed=seed, name=name, now=now)
    headers = {"content-type": TYPE, **{key.lower(): value for key, value in fields.items()}}
    return HTTPAnswer(200, headers, octets)


def without_signature(answer: HTTPAnswer) -> HTTPAnswer:
    kept = {name: value for name, value in answer.headers.items() if "signature" not in name}
    return replace(answer, headers=kept)


B_KEY = KeyName("k1", "b.example")
ATTACKS: dict[str, tuple[Callable[[Between], Callable[[HTTPAnswer], HTTPAnswer]], str]] = {
    "a key swapped on the way": (
        lambda _: (
            lambda answer: replace(
                answer, body=answer.body.replace(str(ONE).encode(), str(MALLORYS).encode())
            )
        ),
        "not to be trusted: the signature does not verify: Content-Digest does not match",
    ),
    "a key added on the way": (
        lambda _: lambda answer: replace(answer, body=answer.body + f"{MALLORYS}\n".encode()),
        "not to be trusted: the signature does not verify: Content-Digest does not match",
    ),
    "signed with another key under its name": (
        lambda b: lambda _: signed(body(MALLORYS), b.key, now=b.world.clock()),
        "not to be trusted: the signature does not verify: it is not by this key",
    ),
    "the list of somebody else of the domain": (
        lambda b: lambda _: signed(body(MALLORYS, owner=CHERYL), B_KEY, now=b.world.clock()),
        "not to be trusted: asked for the keys of bob@b.example, its agent sent those of cheryl@b",
    ),
    "a list of nobody's": (
        lambda b: lambda _: signed(body(MALLORYS, owner=None), B_KEY, now=b.world.clock()),
        "its agent sent nobody's",
    ),
    "the signature of another domain": (
        lambda b: lambda _: signed(body(MALLORYS), NAME, now=b.world.clock()),
        "not to be trusted: the keys of bob@b.example are signed by a.example, and not by b.exam",
    ),
    "an old answer": (
        lambda b: lambda _: signed(body(MALLORYS), B_KEY, now=b.world.clock() - 90_000),
        "not to be trusted: the signature does not verify: it has expired",
    ),
    "the signature taken off": (
        lambda _: without_signature,
        "not to be trusted: b.example does not sign them",
    ),
    "the tag of a notification": (
        lambda _: (
            lambda answer: replace(
                answer,
                headers={
                    **answer.headers,
                    "signature-input": answer.headers["signature-input"].replace("-keys", ""),
                },
            )
        ),
        "not to be trusted: b.example does not sign them",
    ),
    "a signature that is none": (
        lambda _: (
            lambda answer: replace(answer, headers={**answer.headers, "signature-input": "\x00=;;"})
        ),
        "not to be trusted: Signature-Input is not a dictionary",
    ),
    "a key that the DNS does not know": (
        lambda b: lambda _: signed(body(MALLORYS), KeyName("k9", "b.example"), now=b.world.clock()),
        "the DNS has no key records at k9._key._xhmtp.b.example",
    ),
    "a key that was revoked": (
        lambda b: (
            lambda _: signed(body(MALLORYS), KeyName("gone", "b.example"), now=b.world.clock())
        ),
        "which is revoked",
    ),
    "another page": (
        lambda _: lambda _: HTTPAnswer(200, {"content-type": "text/html"}, b"<!doctype html>"),
        "not to be trusted: b.example does not sign them",
    ),
    "what is no text": (
        lambda b: lambda _: signed(b"\xff\xfe" + body(MALLORYS), B_KEY, now=b.world.clock()),
        "its agent sent nobody's",
    ),
    "a redirect": (
        lambda _: lambda _: HTTPAnswer(302, {"location": "http://server.a.example/"}, b""),
        "not to be had: server.b.example leads elsewhere (302), which is not followed",
    ),
    "no such resource": (
        lambda _: lambda _: HTTPAnswer(404, {}, b""),
        "not to be had: server.b.example publishes no keys: it answered 404",
    ),
    "more than is read": (
        lambda _: lambda answer: replace(answer, truncated=True),
        f"not to be had: the list of keys of bob@b.example is larger than the {MOST} octets",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_named_and_no_key_used(between: Between, attack: str):
    make, words = ATTACKS[attack]
    between.publish(ONE)
    between.published.publish(
        (between.key, between.world.b.agent.signing_keys.all("b.example")[0].public),
        (NAME, public()), (B_KEY, public()), (KeyName("gone", "b.example"), None),
    )  # fmt: skip
    between.change = make(between)
    found = between.keys()
    assert found.recipients == () and found.is_new is False
    assert words in found.problem
    database = between.world.a.agent.database
    with database.reading() as connection:
        kept = connection.execute(select(func.count()).select_from(fetched_keys)).scalar_one()
    assert (kept, recipient_keys.known(database, ALICE)) == (0, [])
    between.change = None
    assert between.keys().recipients == (ONE,), "and once it is over, all is well"


def test_an_honest_list_made_by_hand_passes(between: Between):
    """What the attacks are made with would pass, were it right."""
    between.published.publish((B_KEY, public()))
    between.change = lambda _: signed(body(ONE), B_KEY, now=between.world.clock())
    assert between.keys().recipients == (ONE,)


def test_octets_that_are_no_text_beside_a_key_do_no_harm(between: Between):
    between.published.publish((B_KEY, public()))
    octets = body() + b"# \xff\xfe\n" + f"{ONE}\n".encode()
    between.change = lambda _: signed(octets, B_KEY, now=between.world.clock())
    assert between.keys().recipients == (ONE,)


def test_a_key_that_was_replaced_under_its_name_is_asked_for_again(between: Between):
    clock = between.world.clock
    agent = make_agent(
        between.world.a.agent.settings,
        resolver=CachingResolver(between.world.resolver, clock),
        network=between.world.network,  # type: ignore[arg-type]
        clock=clock,
        monotonic=clock,
    )
    between.publish(ONE)
    between.change = lambda _: signed(body(ONE), B_KEY, now=clock())
    between.published.publish((B_KEY, public(bytes(32))))
    with pytest.raises(SignatureInvalid):
        look_up(agent, BOB, 5.0)
    between.published.publish((B_KEY, public()))
    between.later(31)
    assert look_up(agent, BOB, 5.0).sealing == (ONE,), (
        "although the old answer was good for a minute"
    )


@pytest.mark.parametrize("failing", ["_prefix._xhmtp.b.example", "_xhmtps._tcp.b.example", "key"])
def test_while_the_dns_is_down_nothing_is_known(between: Between, failing: str):
    between.publish(ONE)
    name = str(between.key) if failing == "key" else failing
    between.keys()
    between.later()
    between.world.resolver.failing.add(name)
    with pytest.raises(DNSUnavailable):
        look_up(between.world.a.agent, BOB, 5.0)
    assert "the DNS does not tell" in between.keys().problem


# The keys that authors sign with come by the same way


def authors(between: Between) -> list[str]:
    return [key.line() for key in keys_over_network(between.world.a.agent)(BOB)]


@pytest.fixture
def signing(between: Between) -> Between:
    author_keys.add_key(between.world.b.agent.database, BOB, PublicKey.parse(LINE), 0.0)
    return between


def test_authors_keys_of_older_agents_are_taken_unsigned(signing: Between):
    signing.change = lambda _: HTTPAnswer(200, {}, f"# signs: {LINE}\n".encode())
    assert authors(signing) == [LINE]
    signing.change = without_signature
    assert authors(signing) == [LINE]


def test_an_unsigned_list_that_says_to_be_anothers_is_not_taken(signing: Between):
    signing.change = lambda _: HTTPAnswer(
        200, {}, f"# keys of x@b.example\n# signs: {LINE}".encode()
    )
    with pytest.raises(Forbidden, match="those of x@b"):
        authors(signing)


@pytest.mark.parametrize(
    ("change", "error"),
    [(lambda answer: replace(answer, body=answer.body + b"\n"), SignatureInvalid),
     (lambda answer: HTTPAnswer(500, {}, b""), ConnectionFailed),
     (lambda answer: HTTPAnswer(429, {}, b""), ConnectionFailed),
     (lambda answer: HTTPAnswer(404, {}, b""), NotFound)],
)  # fmt: skip
def test_authors_keys_that_are_signed_must_verify(
    signing: Between, change: Callable[[HTTPAnswer], HTTPAnswer], error: type[XHMTPError]
):
    signing.change = change
    with pytest.raises(error):
        authors(signing)


def test_no_connection_is_opened_for_authors_of_our_own(signing: Between):
    own = PublicKey.parse(LINE)
    published = keys_over_network(signing.world.b.agent, None, lambda _: [own])
    assert list(published(BOB)) == [own] and signing.asked == 0


# Many at once


def endpoints(*, domains: int, each: int) -> list[Endpoint]:
    return [
        Endpoint(f"u{number}", f"d{domain}.example")
        for domain in range(domains)
        for number in range(each)
    ]


class Asked:
    """A look-up that counts how many there are at the same time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: list[str] = []
        self.most = 0
        self.most_at_one_domain = 0
        self.asked: list[Endpoint] = []
        self.enough = threading.Barrier(AT_ONCE)

    def __call__(self, endpoint: Endpoint, left: float) -> str:
        with self.lock:
            self.asked.append(endpoint)
            self.running.append(endpoint.domain)
            self.most = max(self.most, len(self.running))
            at_domain = self.running.count(endpoint.domain)
            self.most_at_one_domain = max(self.most_at_one_domain, at_domain)
        with suppress(threading.BrokenBarrierError):
            # Nobody goes on before eight are there: so they are asked at the same time.
            self.enough.wait(20.0)
        with self.lock:
            self.running.remove(endpoint.domain)
        return str(endpoint)


def test_eight_are_asked_at_the_same_time_and_two_of_one_domain():
    asked, wanted = Asked(), endpoints(domains=8, each=6)
    found = ParallelLookup(asked, wanted, 60.0, lambda: 0.0).run()
    assert found == {endpoint: str(endpoint) for endpoint in wanted}
    assert (asked.most, asked.most_at_one_domain) == (AT_ONCE, AT_ONE_DOMAIN)
    assert len(asked.asked) == len(wanted)


def test_who_does_not_answer_holds_up_nobody_else():
    stopped = threading.Event()

    def ask(endpoint: Endpoint, left: float) -> str:
        if endpoint.domain == "d0.example":
            stopped.wait(60.0)
        return str(endpoint)

    wanted = endpoints(domains=4, each=10)
    try:
        found = ParallelLookup(ask, wanted, 2.0, lambda: 0.0).run()
    finally:
        stopped.set()
    late = {endpoint for endpoint, one in found.items() if isinstance(one, DeadlineExceeded)}
    assert late == {endpoint for endpoint in wanted if endpoint.domain == "d0.example"}
    assert set(found) == set(wanted)


@pytest.mark.parametrize("error", [ConnectionFailed("x"), DNSUnavailable("x"), BadDomain("x")])
def test_a_domain_that_is_gone_is_asked_once_or_twice_and_not_for_each(error: XHMTPError):
    asked: list[Endpoint] = []

    def ask(endpoint: Endpoint, left: float) -> str:
        asked.append(endpoint)
        if endpoint.domain == "d0.example":
            raise error
        return str(endpoint)

    wanted = endpoints(domains=2, each=20)
    found = ParallelLookup(ask, wanted, 60.0, lambda: 0.0).run()
    at_gone = [endpoint for endpoint in asked if endpoint.domain == "d0.example"]
    assert len(at_gone) <= AT_ONE_DOMAIN
    expected = {one: error if one.domain == "d0.example" else str(one) for one in wanted}
    assert found == expected


def test_what_is_wrong_with_one_address_is_not_said_of_others():
    def ask(endpoint: Endpoint, left: float) -> str:
        if endpoint.local == "u0":
            raise NotFound("u0")
        return str(endpoint)

    found = ParallelLookup(ask, endpoints(domains=1, each=5), 60.0, lambda: 0.0).run()
    assert [isinstance(one, str) for one in found.values()].count(False) == 1


def test_a_slow_agent_ends_in_words(between: Between):
    between.publish(ONE)
    stopped = threading.Event()

    def slow(answer: HTTPAnswer) -> HTTPAnswer:
        stopped.wait(60.0)
        return answer

    between.change = slow
    try:
        found = between.keys(within=0.3)
    finally:
        stopped.set()
    assert found.problem == (
        "the keys of bob@b.example are not to be had: their agent did not answer in time"
    )


def test_a_fault_of_our_own_is_no_problem_of_a_recipients():
    def ask(endpoint: Endpoint, left: float) -> str:
        raise KeyError("a fault")

    with pytest.raises(KeyError):
        ParallelLookup(ask, endpoints(domains=1, each=1), 60.0, lambda: 0.0).run()


# Over the real network, from servers that do as badly as scripted


def asking(server: WebServer, *, targets: int = 1) -> Agent:
    zone = "".join(
        f"_xhmtp._tcp.b.example. 60 SRV {place} 0 {server.port} h{place}.b.example.\n"
        f"h{place}.b.example. 60 A 127.0.0.{1 if place == targets - 1 else 9}\n"
        for place in range(targets)
    )
    zone += f'{B_KEY}. 60 TXT "{key_record(public())}"\n'
    settings = Settings.load(
        {
            "database": "sqlite://",
            "domain": {"a.example": {}},
            "allow_networks": [str(network) for network in LOOPBACK],
        }
    )
    return make_agent(settings, resolver=FakeResolver(zone), clock=lambda: 1.8e9)


def answer_of(octets: bytes) -> bytes:
    made = signed(octets, B_KEY, now=1.8e9)
    head = "".join(f"{name}: {value}\r\n" for name, value in made.headers.items())
    length = f"Content-Length: {len(octets)}\r\n"
    return f"HTTP/1.1 200 OK\r\n{head}{length}\r\n".encode() + octets


def test_a_signed_list_is_read_from_a_real_server():
    with WebServer(always(answer_of(body(ONE)))) as server:
        found = look_up(asking(server), BOB, 10.0)
    assert (found.sealing, found.signed_by) == ((ONE,), B_KEY)
    assert server.requests[0].startswith(
        b"GET /.well-known/xhmtp/bob%40b.example/keys HTTP/1.1\r\n"
    )


def test_a_long_list_is_read_whole():
    octets = body() + b"#" * (MOST - 2000) + f"\n{QUANTUM}".encode()
    with WebServer(always(answer_of(octets))) as server:
        assert look_up(asking(server), BOB, 10.0).sealing == (QUANTUM,)


def test_an_agent_that_is_gone_is_left_aside_for_the_next_one():
    with WebServer(always(answer_of(body(ONE)))) as server:
        assert look_up(asking(server, targets=3), BOB, 10.0).sealing == (ONE,)


def test_no_more_than_a_list_may_have_is_read_of_a_huge_one():
    sent = 0

    def endless(visit: Visit) -> None:
        nonlocal sent
        visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        try:
            while sent < 64 << 20:
                visit.send(b"# x\n" * 16384)
                sent += 65536
        except OSError:
            return

    with WebServer(endless) as server, pytest.raises(TooLarge, match="keys of bob@b"):
        look_up(asking(server), BOB, 30.0)
    assert sent < 32 << 20


def test_one_deadline_holds_for_a_server_that_drips():
    def dripping(visit: Visit) -> None:
        visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\n\r\n")
        visit.drip(b"#" * 10_000)

    with WebServer(dripping) as server, pytest.raises(DeadlineExceeded):
        look_up(asking(server), BOB, 1.0)


def test_no_redirect_is_followed():
    with WebServer(always(answer_of(body(MALLORYS)))) as other:
        location = f"http://127.0.0.1:{other.port}/"
        moved = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        with (
            WebServer(always(moved.encode())) as server,
            pytest.raises(NotFound, match="elsewhere"),
        ):
            look_up(asking(server), BOB, 10.0)
        assert other.requests == []
