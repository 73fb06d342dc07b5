"""The demonstration's name server, and the real resolver that asks it, over real sockets."""

import socket
import threading

import pytest

from demonstration.name_server import Fault, NameServer
from xhmtp_wsgi.dns_resolver import DNSResolver, SRVRecord, TXTRecord
from xhmtp_wsgi.errors import DNSUnavailable

ZONE = """
b.example. 300 SOA ns.b.example. hostmaster.b.example. 1 3600 600 86400 7
_xhmtp._tcp.b.example. 60 SRV 10 5 8080 server.b.example.
_prefix._xhmtp.b.example. 60 TXT "XY" "Z"
server.b.example. 30 A 127.0.0.2
server.b.example. 30 AAAA ::1
alias.b.example. 5 CNAME server.b.example.
loop.b.example. 5 CNAME loop.b.example.
none.c.example. 5 A 127.0.0.3
"""


def resolver_of(server: NameServer, **options: float) -> DNSResolver:
    return DNSResolver([(server.address, server.port)], **options)


def test_each_kind_of_record_is_a_value():
    with NameServer(ZONE) as server:
        resolver = resolver_of(server)
        srv = resolver.resolve("_xhmtp._tcp.b.example", "SRV")
        assert srv.records == (SRVRecord(10, 5, 8080, "server.b.example"),)
        assert srv.ttl == 60
        txt = resolver.resolve("_prefix._xhmtp.b.example", "TXT")
        assert txt.records == (TXTRecord(b"XYZ", 2),)
        for kind, text in (("A", "127.0.0.2"), ("AAAA", "::1")):
            assert [str(one) for one in resolver.resolve("server.b.example", kind).records] == [
                text
            ]


def test_a_name_of_another_kind_exists_and_an_empty_one_above_another_does_too():
    with NameServer(ZONE) as server:
        resolver = resolver_of(server)
        for name, exists in (("server.b.example", True), ("_tcp.b.example", True)):
            answer = resolver.resolve(name, "TXT")
            assert (answer.records, answer.exists) == ((), exists)
        assert not resolver.resolve("nobody.b.example", "A").exists


def test_that_there_is_none_is_kept_as_long_as_the_soa_says_but_a_minute_at_most():
    with NameServer(ZONE) as server:
        resolver = resolver_of(server)
        assert resolver.resolve("nobody.b.example", "A").ttl == 7
        assert resolver.resolve("server.b.example", "TXT").ttl == 7
        assert 0 < resolver.resolve("nobody.c.example", "A").ttl <= 60


def test_an_alias_is_followed_and_its_ttl_counts():
    with NameServer(ZONE) as server:
        answer = resolver_of(server).resolve("alias.b.example", "A")
        assert [str(one) for one in answer.records] == ["127.0.0.2"]
        assert answer.ttl == 5


def test_an_alias_of_itself_is_no_answer():
    with NameServer(ZONE) as server, pytest.raises(DNSUnavailable):
        resolver_of(server).resolve("loop.b.example", "A")


@pytest.mark.parametrize("fault", ["servfail", "refused", "timeout", "garbage"])
def test_a_failing_name_server_is_a_temporary_failure(fault: Fault):
    with NameServer(ZONE) as server:
        server.faults["server.b.example"] = fault
        with pytest.raises(DNSUnavailable, match="A of server\\.b\\.example"):
            resolver_of(server, timeout=0.1, lifetime=0.3).resolve("server.b.example", "A")


@pytest.mark.parametrize("fault", ["truncate", "forged"])
def test_truncation_and_forged_packets_do_not_hide_the_answer(fault: Fault):
    with NameServer(ZONE) as server:
        server.faults["server.b.example"] = fault
        answer = resolver_of(server).resolve("server.b.example", "A")
        assert [str(one) for one in answer.records] == ["127.0.0.2"]


def test_an_answer_too_large_for_udp_comes_over_tcp_and_is_bounded():
    lines = [f"many.b.example. 60 A 127.1.{n // 250}.{n % 250 + 1}" for n in range(1000)]
    with NameServer("\n".join(lines)) as server:
        assert len(resolver_of(server).resolve("many.b.example", "A").records) == 100


def test_a_name_server_that_is_not_there_is_a_temporary_failure():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(DNSUnavailable):
        DNSResolver([("127.0.0.1", port)], timeout=0.1, lifetime=0.3).resolve("b.example", "A")


def test_a_name_server_must_be_an_address():
    with pytest.raises(ValueError, match=r"ns\.example"):
        DNSResolver([("ns.example", 53)])


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", ".".join(["a" * 60] * 5)])
def test_what_is_no_name_is_not_an_answer(name: str):
    with pytest.raises(DNSUnavailable):
        DNSResolver([("127.0.0.1", 9)], timeout=0.1, lifetime=0.1).resolve(name, "A")


def test_the_zone_can_change_and_questions_are_told():
    told: list[tuple[str, str]] = []
    with NameServer(ZONE, on_question=lambda *one: told.append(one)) as server:
        server.set_zone("server.b.example. 5 A 127.0.0.9")
        answer = resolver_of(server).resolve("server.b.example", "A")
        assert [str(one) for one in answer.records] == ["127.0.0.9"]
    assert told == [("server.b.example A?", "127.0.0.9")]


def test_nonsense_does_not_stop_the_name_server():
    with NameServer(ZONE) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for octets in (b"", b"\0", b"\xff" * 300, b"\0" * 12):
                sender.sendto(octets, (server.address, server.port))
        assert resolver_of(server).resolve("server.b.example", "A").records


def test_a_port_is_free_again_after_stop():
    server = NameServer(ZONE)
    server.start()
    port = server.port
    server.stop()
    with NameServer(ZONE, port=port) as again:
        assert resolver_of(again).resolve("server.b.example", "A").records
    assert not [one for one in threading.enumerate() if "serve_forever" in one.name]
