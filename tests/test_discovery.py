"""Discovery promises: what the DNS says becomes checked targets, prefixes and addresses, or a clear
error (docs/protocol.md, section 2)."""

import collections
import ipaddress
import os
import random
import re
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.resolver import FakeResolver
from xhmtp_wsgi.discovery import MAX_SRV_RECORDS, Discovery
from xhmtp_wsgi.dns_resolver import Answer, CachingResolver, Record, SRVRecord, TXTRecord
from xhmtp_wsgi.errors import BadDomain, DNSUnavailable, MalformedAddress, NoService, XHMTPError
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.prefix import DEFAULT_PREFIX
from xhmtp_wsgi.recipient.origin import check_origin

HTTP = "_xhmtp._tcp.b.example. 60 SRV 0 0 80 plain.b.example.\n"
HTTPS = "_xhmtps._tcp.b.example. 60 SRV 0 0 443 secure.b.example.\n"


def discovery(zone: str = "", failing: tuple[str, ...] = ()) -> Discovery:
    return Discovery(FakeResolver(zone, failing), random.Random(1))


class OneAnswer:
    """A resolver that says the same to everything."""

    def __init__(self, *records: Record, ttl: int = 60) -> None:
        self.answer = Answer(records, ttl)
        self.asked = 0

    def refresh(self, name: str) -> None:
        """Keeps nothing."""

    def resolve(self, name: str, kind: str) -> Answer:
        self.asked += 1
        return self.answer


# Agents


def test_an_agent_over_http_is_found():
    (target,) = discovery(HTTP).agents("B.example.")
    assert (target.scheme, target.host, target.port) == ("http", "plain.b.example", 80)


def test_with_an_agent_over_tls_plain_http_is_not_used():
    assert [one.scheme for one in discovery(HTTP + HTTPS).agents("b.example")] == ["https"]


def test_a_failure_of_the_question_for_tls_is_no_leave_to_speak_in_clear():
    with pytest.raises(DNSUnavailable):
        discovery(HTTP, ("_xhmtps._tcp.b.example",)).agents("b.example")


def test_unusable_records_for_tls_are_no_leave_to_speak_in_clear():
    bad = "_xhmtps._tcp.b.example. 60 SRV 0 0 0 secure.b.example.\n"
    with pytest.raises(BadDomain):
        discovery(HTTP + bad).agents("b.example")


def test_a_target_of_dot_means_no_service():
    with pytest.raises(NoService, match="takes no messages"):
        discovery("_xhmtp._tcp.b.example. 60 SRV 0 0 0 .").agents("b.example")
    with pytest.raises(NoService, match="takes no messages"):
        discovery(HTTP + "_xhmtps._tcp.b.example. 60 SRV 0 0 0 .").agents("b.example")


def test_no_domain_and_no_record_are_told_apart():
    with pytest.raises(NoService, match="knows no domain"):
        discovery(HTTP).agents("c.example")
    with pytest.raises(NoService, match="has no SRV record"):
        discovery("b.example. 60 A 127.0.0.1").agents("b.example")
    with pytest.raises(NoService, match="has no SRV record"):
        discovery("", ("b.example A",)).agents("b.example")


@pytest.mark.parametrize(
    ("target", "port"),
    [
        ("127.0.0.1.", 80),
        ("2130706433.", 80),
        ("0x7f000001.", 80),
        ("under_score.b.example.", 80),
        (r"a\032b.example.", 80),
        (r"evil\.example\@b.example.", 80),
        (r"\228\246.example.", 80),
        ("server.b.example.", 0),
    ],
)
def test_a_target_that_is_no_host_and_port_is_skipped(target: str, port: int):
    bad = f"_xhmtp._tcp.b.example. 60 SRV 0 0 {port} {target}\n"
    with pytest.raises(BadDomain):
        discovery(bad).agents("b.example")
    assert [one.host for one in discovery(bad + HTTP).agents("b.example")] == ["plain.b.example"]


def test_lower_priorities_come_first_and_weights_share_the_rest():
    records = [SRVRecord(20, 0, 80, "last.b.example"), SRVRecord(10, 0, 80, "zero.b.example")]
    records += [SRVRecord(10, 90, 80, "much.b.example"), SRVRecord(10, 10, 80, "some.b.example")]
    asked = Discovery(OneAnswer(*records), random.Random(7))
    first: collections.Counter[str] = collections.Counter()
    for _ in range(1000):
        hosts = [target.host.split(".")[0] for target in asked.agents("b.example")]
        assert hosts[-1] == "last"
        assert sorted(hosts) == ["last", "much", "some", "zero"]
        first[hosts[0]] += 1
    assert 840 < first["much"] < 940
    assert 50 < first["some"] < 150
    assert first["zero"] > 0


def test_at_most_twenty_records_are_read():
    records = [SRVRecord(0, 0, 80, f"s{number}.b.example") for number in range(10_000)]
    assert len(Discovery(OneAnswer(*records)).agents("b.example")) == MAX_SRV_RECORDS


SPELLINGS = ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "①②⑦.0.0.1", "[::1]", "a b", "", "a/b"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_no_name_is_not_asked_for(spelling: str):
    resolver = FakeResolver()
    asked = Discovery(resolver)
    for question in (asked.agents, asked.prefix, asked.addresses):
        with pytest.raises(MalformedAddress):
            question(spelling)
    assert resolver.asked == []


# Prefixes


@pytest.mark.parametrize(
    ("text", "prefix"),
    [('"XYZ"', "XYZ"), ('"/a/b.c/"', "a/b.c"), ('"very" "/" "long"', "very/long")],
)
def test_a_prefix_is_read(text: str, prefix: str):
    zone = f"_prefix._xhmtp.b.example. 42 TXT {text}"
    assert discovery(zone).prefix_with_ttl("b.example") == (prefix, 42)


def test_without_a_record_the_prefix_is_the_well_known_one():
    assert discovery().prefix("b.example") == DEFAULT_PREFIX
    assert discovery("x._prefix._xhmtp.b.example. 60 A 127.0.0.1").prefix("b.example") == (
        DEFAULT_PREFIX
    )


@pytest.mark.parametrize(
    "octets",
    [
        *[b"", b"/", b"..", b"a/../b", b"./a", b"//evil.example/a", b"a//b", b"%00", b"a%2e"],
        *[b"a?b", b"a#b", b"a b", b"a\r\nb", b"a\0", b"v=spf1 -all", b"\xc3\xa9", b"a@b"],
        *[b"a\n", b"x" * 300],
    ],
)
def test_a_prefix_that_is_not_a_path_is_an_error_of_the_domain(octets: bytes):
    with pytest.raises(BadDomain):
        Discovery(OneAnswer(TXTRecord(octets, 1))).prefix("b.example")


def test_several_records_or_too_many_strings_are_an_error_of_the_domain():
    with pytest.raises(BadDomain, match="several"):
        Discovery(OneAnswer(TXTRecord(b"a", 1), TXTRecord(b"b", 1))).prefix("b.example")
    with pytest.raises(BadDomain, match="more than 8"):
        Discovery(OneAnswer(TXTRecord(b"abcdefghi", 9))).prefix("b.example")


def test_a_prefix_that_cannot_be_asked_for_is_not_the_well_known_one():
    with pytest.raises(DNSUnavailable):
        discovery("", ("_prefix._xhmtp.b.example",)).prefix("b.example")


LABELS = st.text(st.sampled_from("ab0-_./:@%#?\\ \0\réZ"), max_size=12)
SRV = st.builds(
    SRVRecord,
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.one_of(LABELS, LABELS.map(lambda text: f"{text}.example"), st.text(max_size=300)),
)
TXT = st.builds(
    TXTRecord,
    st.one_of(st.binary(max_size=400), LABELS.map(lambda text: text.encode())),
    st.integers(0, 20),
)
URL = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
    r":[1-9][0-9]{0,4}(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)+"
)


@given(st.lists(SRV, min_size=1, max_size=25), st.lists(TXT, max_size=3))
def test_a_url_made_of_whatever_answer_is_scheme_host_port_and_prefix(
    srv: list[SRVRecord], txt: list[TXTRecord]
):
    try:
        targets = Discovery(OneAnswer(*srv)).agents("b.example")
        prefix = Discovery(OneAnswer(*txt)).prefix("b.example")
    except (NoService, BadDomain) as error:
        assert "\n" not in str(error)
        return
    assert targets
    for target in targets:
        assert URL.fullmatch(f"{target.scheme}://{target.host}:{target.port}/{prefix}")


# Addresses

HOST = "h.example. 60 A 192.0.2.1\nh.example. 60 AAAA 2001:db8::1\n"


def test_a_host_has_the_addresses_of_both_kinds():
    assert [str(one) for one in discovery(HOST).addresses("h.example")] == [
        "2001:db8::1",
        "192.0.2.1",
    ]
    assert [str(one) for one in discovery(HOST).addresses("h.example", (4,))] == ["192.0.2.1"]


def test_no_host_has_no_addresses():
    assert discovery().addresses("h.example") == ()


def test_what_is_known_is_enough_but_nothing_known_is_not_nothing():
    assert len(discovery(HOST, ("h.example AAAA",)).addresses("h.example")) == 1
    with pytest.raises(DNSUnavailable):
        discovery(HOST, ("h.example AAAA",)).addresses("h.example", (6,))
    with pytest.raises(DNSUnavailable):
        discovery("h.example. 60 A 192.0.2.1", ("h.example A",)).addresses("h.example")


# Keeping answers


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def kept(zone: str, failing: tuple[str, ...] = ()) -> tuple[CachingResolver, FakeResolver, Clock]:
    resolver, clock = FakeResolver(zone, failing), Clock()
    return CachingResolver(resolver, clock), resolver, clock


def test_an_answer_is_kept_for_its_ttl_and_says_what_is_left_of_it():
    cache, resolver, clock = kept("h.example. 60 A 192.0.2.1")
    assert cache.resolve("h.example", "A").ttl == 60
    clock.now += 59
    assert cache.resolve("H.example.", "A").ttl == 1
    assert len(resolver.asked) == 1
    clock.now += 1
    cache.resolve("h.example", "A")
    assert len(resolver.asked) == 2


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 0), (100_000, 3600)])
def test_a_ttl_of_none_is_not_kept_and_a_long_one_an_hour(ttl: int, seconds: int):
    cache, resolver, clock = kept(f"h.example. {ttl} A 192.0.2.1")
    cache.resolve("h.example", "A")
    clock.now += max(seconds - 1, 0)
    cache.resolve("h.example", "A")
    assert len(resolver.asked) == (2 if seconds == 0 else 1)
    clock.now += 1
    cache.resolve("h.example", "A")
    assert len(resolver.asked) == (3 if seconds == 0 else 2)


def test_that_there_is_none_is_kept_for_a_minute_at_most():
    source, clock = OneAnswer(ttl=3000), Clock()
    cache = CachingResolver(source, clock)
    cache.resolve("h.example", "A")
    clock.now += 59
    cache.resolve("h.example", "A")
    assert source.asked == 1
    clock.now += 1
    cache.resolve("h.example", "A")
    assert source.asked == 2


def test_a_failure_is_kept_for_two_seconds_only():
    cache, resolver, clock = kept("h.example. 60 A 192.0.2.1", ("h.example",))
    for _ in range(3):
        with pytest.raises(DNSUnavailable):
            cache.resolve("h.example", "A")
    assert len(resolver.asked) == 1
    resolver.failing.clear()
    clock.now += 2
    assert cache.resolve("h.example", "A").records


def test_answers_can_be_forgotten():
    cache, resolver, _ = kept("h.example. 60 A 192.0.2.1\ni.example. 60 A 192.0.2.1")
    forgetting: list[Callable[[], None]] = [lambda: cache.forget("H.example"), cache.forget_all]
    for forget in forgetting:
        cache.resolve("h.example", "A")
        cache.resolve("i.example", "A")
        before = len(resolver.asked)
        forget()
        cache.resolve("h.example", "A")
        assert len(resolver.asked) == before + 1


def test_a_doubted_answer_is_asked_for_again_but_not_each_time():
    cache, resolver, clock = kept("k.example. 600 TXT x\nother.example. 600 TXT y")
    for name in ("k.example", "other.example"):
        cache.resolve(name, "TXT")
    cache.refresh("K.example")
    cache.resolve("k.example", "TXT")
    assert len(resolver.asked) == 2, "it was asked for just now"
    clock.now += 30
    cache.refresh("K.example")
    for name in ("k.example", "other.example"):
        cache.resolve(name, "TXT")
    assert [name for name, _ in resolver.asked] == ["k.example", "other.example", "k.example"]


def test_the_number_of_answers_kept_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xhmtp_wsgi.dns_resolver.MOST_KEPT", 3)
    source = OneAnswer(TXTRecord(b"a", 1))
    cache = CachingResolver(source, Clock())
    for name in "abcdd":
        cache.resolve(name, "TXT")
    assert source.asked == 4
    cache.resolve("a", "TXT")
    assert source.asked == 5


def test_a_slow_question_does_not_hold_up_others():
    waiting, go_on = threading.Event(), threading.Event()

    class Slow:
        def refresh(self, name: str) -> None:
            """Keeps nothing."""

        def resolve(self, name: str, kind: str) -> Answer:
            if name == "slow.example":
                waiting.set()
                assert go_on.wait(10)
            return Answer((), 60)

    cache = CachingResolver(Slow(), Clock())
    thread = threading.Thread(target=cache.resolve, args=("slow.example", "A"))
    thread.start()
    assert waiting.wait(10)
    cache.resolve("fast.example", "A")
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_fork_while_the_lock_is_held_does_not_block_the_child():
    cache, _, _ = kept("h.example. 60 A 192.0.2.1")
    with cache._lock:
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if cache.resolve("h.example", "A").records else 1)
            except XHMTPError:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_host_that_has_just_moved_passes_the_origin_check():
    clock = Clock()
    resolver = FakeResolver("server.a.example. 3600 A 192.0.2.1")
    discovery = Discovery(CachingResolver(resolver, clock))
    url = MessageURL.parse(f"http://bob%40b.example:{'c' * 22}@server.a.example/x/alice/{'i' * 22}")

    def checked(source: str) -> str:
        return check_origin(url, ipaddress.ip_address(source), discovery).result

    assert checked("192.0.2.1") == "pass"
    assert checked("192.0.2.2") == "fail"
    resolver.set_zone("server.a.example. 3600 A 192.0.2.2")
    assert checked("192.0.2.2") == "fail", "it was asked for just now"
    clock.now += 31
    assert checked("192.0.2.2") == "pass", "although the old answer was good for an hour"
