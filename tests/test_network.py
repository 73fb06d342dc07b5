"""The network's promises: only vetted addresses, bounded time and size, kept-alive connections.

All of it on loopback, against servers that do as badly as scripted.
"""

import gzip
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demonstration.name_server import NameServer
from tests.fakes.resolver import FakeResolver
from tests.fakes.web_server import CREATED, LOOPBACK, Authority, Script, Visit, WebServer, always
from xhmtp_wsgi.discovery import AgentTarget, Discovery
from xhmtp_wsgi.dns_resolver import DNSResolver
from xhmtp_wsgi.errors import (
    AddressRefused,
    ConnectionFailed,
    DeadlineExceeded,
    DNSUnavailable,
    TLSFailed,
    XHMTPError,
)
from xhmtp_wsgi.network import MAX_ANSWER, STEP, HTTPAnswer, Network
from xhmtp_wsgi.network_addresses import is_refused, port_refused, vet
from xhmtp_wsgi.network_connection import WatchedConnection

HOST = "h.example"
ZONE = "h.example. 60 A 127.0.0.1"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def network(zone: str = ZONE, **options: Any) -> Network:
    options = {"allow_networks": LOOPBACK, "deadline": 5.0, **options}
    return Network(Discovery(FakeResolver(zone)), **options)


def to(server: WebServer, scheme: str = "http", host: str = HOST) -> AgentTarget:
    return AgentTarget(scheme, host, server.port)


def post(client: Network, target: AgentTarget, **options: Any) -> HTTPAnswer:
    return client.post(target, "/XYZ/bob@b.example", b"url=x", FORM, **options)


# Which addresses

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.0",
    "193.0.0.1",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2600::1",
    "2606:4700::1111",
    "2a00:1450::1",
]


@pytest.mark.parametrize("text", REFUSED)
def test_an_address_that_leads_inside_or_elsewhere_is_refused(text: str):
    address = ipaddress.ip_address(text)
    assert is_refused(address)
    with pytest.raises(AddressRefused, match=r"^h\.example has "):
        vet(HOST, [ipaddress.ip_address("8.8.8.8"), address], ())


@pytest.mark.parametrize("text", ALLOWED)
def test_a_public_address_is_allowed(text: str):
    assert is_refused(ipaddress.ip_address(text)) is None


def test_an_allowed_network_is_allowed_also_in_the_clothes_of_ipv6():
    clothed = ipaddress.ip_address("::ffff:127.0.0.1")
    assert vet(HOST, [clothed], LOOPBACK) == (ipaddress.ip_address("127.0.0.1"),)
    with pytest.raises(AddressRefused):
        vet(HOST, [ipaddress.ip_address("10.0.0.1")], LOOPBACK)


@given(st.ip_addresses(v=4), st.integers(0, 2**16 - 1))
def test_a_refused_address_stays_refused_whatever_it_is_embedded_in(
    address: ipaddress.IPv4Address, more: int
):
    number = int(address)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | number)
    assert bool(is_refused(mapped)) == bool(is_refused(address))
    embedded = {
        "6to4": (0x2002 << 112) | (number << 80) | more,
        "NAT64": (0x64FF9B << 96) | number,
        "NAT64 of a site": (0x64FF9B0001 << 80) | number,
        "compatible": number,
        "translated": (0xFFFF << 48) | number,
        "Teredo": (0x20010000 << 96) | (more << 32) | (number ^ 0xFFFFFFFF),
    }
    for form, value in embedded.items():
        assert is_refused(ipaddress.IPv6Address(value)), form


@given(st.ip_addresses(v=6))
def test_no_address_of_ipv6_outside_the_opened_range_is_allowed(address: ipaddress.IPv6Address):
    if address.ipv4_mapped is None and address not in ipaddress.ip_network("2000::/3"):
        assert is_refused(address)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 53, 79, 81, 444, 1023, 2049, 6000, 6379, 6667])
def test_a_port_of_another_service_is_refused(port: int):
    assert port_refused(port)
    with pytest.raises(AddressRefused, match="not for HTTP"):
        post(network(), AgentTarget("http", HOST, port))


def test_ports_for_http_are_allowed_and_a_list_of_ones_own_stands_alone():
    assert not [port for port in (80, 443, 1024, 8080, 8443, 65535) if port_refused(port)]
    assert port_refused(11211)
    assert port_refused(8080, {80})
    assert not port_refused(81, {81})


@pytest.mark.parametrize("lead", ["A 127.0.0.1", "AAAA ::1", "AAAA ::ffff:127.0.0.1"])
def test_by_default_nothing_connects_to_loopback(lead: str):
    with WebServer(always(CREATED)) as trap:
        client = network(f"h.example. 60 A 8.8.8.8\nh.example. 60 {lead}", allow_networks=())
        with pytest.raises(AddressRefused):
            post(client, to(trap))
        assert trap.connections == []


def test_a_host_is_asked_for_once_so_that_rebinding_finds_nothing_to_bind():
    class Rebinding(FakeResolver):
        def resolve(self, name: str, kind: str) -> Any:
            found = super().resolve(name, kind)
            if kind == "A":
                self.set_zone("h.example. 0 A 127.0.0.1")
            return found

    with WebServer(always(CREATED)) as trap:
        # Nobody answers at the first address, which stands for a public one.
        resolver = Rebinding("h.example. 0 A 127.9.9.9")
        allowed = [ipaddress.ip_network("127.9.9.9/32")]
        client = Network(Discovery(resolver), allow_networks=allowed, deadline=2)
        with pytest.raises(ConnectionFailed):
            post(client, to(trap))
        assert resolver.asked.count((HOST, "A")) == 1
        assert trap.connections == []
        with pytest.raises(AddressRefused):
            post(client, to(trap))
        assert trap.connections == []


def test_the_whole_way_is_gone_without_getaddrinfo(monkeypatch: pytest.MonkeyPatch):
    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("a name was looked up behind our back")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
        monkeypatch.setattr(socket, name, forbidden)
    with WebServer(always(CREATED)) as server, NameServer(ZONE) as names:
        resolver = DNSResolver([("127.0.0.1", names.port)])
        client = Network(Discovery(resolver), allow_networks=LOOPBACK)
        assert post(client, to(server), source_host=HOST).status == 201


def test_a_host_without_an_address_is_a_temporary_failure():
    with pytest.raises(ConnectionFailed, match="has no address"):
        post(network(""), AgentTarget("http", HOST, 80))


def test_a_dns_failure_stays_one():
    client = Network(Discovery(FakeResolver("", {HOST})))
    with pytest.raises(DNSUnavailable):
        post(client, AgentTarget("http", HOST, 80))


def test_addresses_are_tried_until_one_connects():
    zone = "\n".join(f"h.example. 60 A 127.0.0.{last}" for last in (7, 8, 9, 1))
    with WebServer(always(CREATED)) as server:
        answer = post(network(zone), to(server))
        assert str(answer.address) == "127.0.0.1"
        fifth = zone.replace("h.example. 60 A 127.0.0.1", "h.example. 60 A 127.0.0.6\n" + ZONE)
        with pytest.raises(ConnectionFailed, match="refuses the connection"):
            post(network(fifth), to(server))
        assert len(server.connections) == 1


def test_once_connected_no_other_address_is_tried():
    zone = "h.example. 60 A 127.0.0.1\nh.example. 60 A 127.0.0.1\nh.example. 60 A 127.0.0.2"
    with WebServer(lambda visit: None, address="0.0.0.0") as server:
        with pytest.raises(ConnectionFailed):
            post(network(zone), to(server))
        assert len(server.connections) == 1


def test_ipv6_and_ipv4_take_turns():
    # Nothing answers there at ::1, which is tried first; IPv4 comes next, and not last.
    zone = "\n".join([ZONE, *(f"h.example. 60 A 127.0.0.{n}" for n in range(2, 9))])
    with WebServer(always(CREATED)) as server:
        client = network(zone + "\nh.example. 60 AAAA ::1")
        assert str(post(client, to(server)).address) == "127.0.0.1"


def test_ipv6_is_spoken():
    try:
        server = WebServer(always(CREATED), address="::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with server:
        assert post(network("h.example. 60 AAAA ::1"), to(server)).status == 201
        assert server.connections == ["::1"]


def test_the_connection_comes_from_the_address_of_our_own_agent():
    zone = ZONE + "\na.example. 60 A 192.0.2.1\na.example. 60 A 127.0.0.5\nb.example. 60 A 8.8.8.8"
    with WebServer(always(CREATED)) as server:
        client = network(zone)
        for source_host in ("a.example", "b.example", "nobody.example", "not a name", None):
            post(client, to(server), source_host=source_host)
        assert server.connections == ["127.0.0.5", "127.0.0.1"]


# What is sent


def test_a_request_bears_the_hosts_name_and_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine h.example login alice password secret\ndefault login a password b\n")
    netrc.chmod(0o600)
    with WebServer(always(CREATED)) as server, WebServer(always(CREATED)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        post(network(user_agent="test/1"), to(server))
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /XYZ/bob@b.example HTTP/1.1"
        assert sorted(lines[1:]) == [
            "Accept-Encoding: identity",
            "Content-Length: 5",
            "Content-Type: application/x-www-form-urlencoded",
            f"Host: h.example:{server.port}",
            "User-Agent: test/1",
        ]
        assert body == b"url=x"
        assert proxy.connections == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("", {}),
        ("x", {}),
        ("//evil.example/", {}),
        ("http://evil.example/", {}),
        ("/a b", {}),
        ("/a\r\nX: y", {}),
        ("/é", {}),
        ("/", {"X": "a\r\nY: b"}),
        ("/", {"X": "a\r\n b"}),
        ("/", {"X": "a\0"}),
        ("/", {"X\r\nY": "a"}),
        ("/", {"": "a"}),
        ("/", {"Host": "evil.example"}),
        ("/", {"Transfer-Encoding": "chunked"}),
    ],
)
def test_what_would_be_another_request_is_not_sent(path: str, headers: dict[str, str]):
    with WebServer(always(CREATED)) as server:
        with pytest.raises(ValueError, match=r"path|header"):
            network().post(to(server), path, b"", headers)
        assert server.connections == []


def test_get_has_no_body():
    with WebServer(always(CREATED)) as server:
        assert network().get(to(server), "/XYZ/bob@b.example/keys", {}).body == b"ok"
        assert server.requests[0].startswith(b"GET /XYZ/bob@b.example/keys HTTP/1.1\r\n")
        assert b"Content-Length" not in server.requests[0]


# What is answered


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(status: int):
    with WebServer(always(CREATED)) as elsewhere:
        location = f"http://127.0.0.1:{elsewhere.port}/"
        told = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        with WebServer(always(told.encode())) as server:
            answer = post(network(), to(server))
        assert (answer.status, answer.headers["location"]) == (status, location)
        assert elsewhere.connections == []


def test_a_compressed_answer_is_not_decoded():
    bomb = gzip.compress(b"\0" * 30_000_000)
    told = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with WebServer(always(told + bomb)) as server:
        assert post(network(), to(server)).body == bomb[:MAX_ANSWER]


def test_of_an_endless_answer_a_part_is_read_and_the_connection_dropped():
    sent = 0

    def script(visit: Visit) -> None:
        nonlocal sent
        visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while sent < 1_000_000_000:
            visit.send(b"x" * 65536)
            sent += 65536

    with WebServer(script) as server:
        answer = post(network(), to(server))
        assert (len(answer.body), answer.truncated) == (MAX_ANSWER, True)
        assert sent < 50_000_000


@pytest.mark.parametrize(("size", "truncated"), [(MAX_ANSWER, False), (MAX_ANSWER + 1, True)])
def test_only_an_answer_above_the_limit_is_truncated(size: int, truncated: bool):
    told = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    with WebServer(always(told)) as server:
        answer = post(network(), to(server))
        assert (len(answer.body), answer.truncated) == (MAX_ANSWER, truncated)


CUT_SHORT = [
    b"",
    b"HTTP/1.1 201",
    b"HTTP/1.1 201 Created",
    b"HTTP/1.1 201 Created\r\n",
    b"HTTP/1.1 201 Created\r\nContent-",
    b"HTTP/1.1 201 Created\r\nX: y\r\n",
    b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n123456789",
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
]
NOT_HTTP = [
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\0\xff" * 100 + b"\r\n\r\n",
    b"HTTP/1.1 abc Created\r\n\r\n",
    b"HTTP/1.1 99 Low\r\n\r\n",
    b"HTTP/3 201 Created\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + CREATED,
    b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 201 Created\r\nContent-Length: 1, 2\r\n\r\nab",
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 201 " + b"x" * 70_000 + b"\r\n\r\n",
    b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"HTTP/1.1 201 Created\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 10 + b"\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
]


@pytest.mark.parametrize("told", CUT_SHORT + NOT_HTTP)
def test_an_answer_cut_short_or_not_http_is_a_temporary_failure(told: bytes):
    def script(visit: Visit) -> None:
        visit.request()
        visit.send(told)

    with WebServer(script) as server:
        with pytest.raises(ConnectionFailed) as failed:
            post(network(), to(server))
        assert not isinstance(failed.value, DeadlineExceeded | TLSFailed)
        assert "\n" not in str(failed.value)


def test_whatever_is_answered_is_an_answer_or_an_error_of_ours():
    told = b""

    def script(visit: Visit) -> None:
        visit.request()
        visit.send(told)

    pieces = [b"HTTP/1.1 ", b"201 ", b"204 ", b"100 ", b"\r\n", b"\n", b"\r", b" ", b":", b"\0"]
    pieces += [
        b"Content-Length: ",
        b"5",
        b"-1",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
    ]
    octets = st.lists(st.one_of(st.sampled_from(pieces), st.binary(max_size=9))).map(b"".join)

    with WebServer(script) as server:
        client = network()

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(octets, st.sampled_from([b"", b"HTTP/1.1 201 Created\r\n"]))
        def fuzz(after: bytes, before: bytes) -> None:
            nonlocal told
            told = before + after
            try:
                answer = post(client, to(server))
            except XHMTPError as error:
                assert "\n" not in str(error)
            else:
                assert 200 <= answer.status <= 999
                assert not any("\n" in value for value in answer.headers.values())

        fuzz()


def test_more_of_an_answer_is_read_where_more_is_asked_for():
    large = b"x" * (3 * MAX_ANSWER)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(large)
    with WebServer(always(head + large)) as server:
        client = network()
        assert client.get(to(server), "/x", {}, most=len(large)).body == large
        cut = client.get(to(server), "/x", {}, most=len(large) - 1)
        assert (len(cut.body), cut.truncated) == (len(large) - 1, True)


def test_headers_are_by_name_in_lower_case_and_bounded():
    told = (
        b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nX: " + b"y" * 9000 + b"\r\nContent-Length: 0\r\n\r\n"
    )
    with WebServer(always(told)) as server:
        answer = post(network(), to(server))
    assert answer.headers["retry-after"] == "7"
    assert len(answer.headers["x"]) == 4096


# Time


def drips(octets: bytes, before: bytes = b"") -> Script:
    def script(visit: Visit) -> None:
        visit.request()
        visit.send(before)
        visit.drip(octets)

    return script


HEAD = b"HTTP/1.1 201 Created\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(drips(b"HTTP/1.1 201 " + b"x" * 500), id="status line"),
        pytest.param(drips(b"X: y\r\n" * 100, HEAD), id="headers"),
        pytest.param(drips(b"x" * 500, HEAD + b"\r\n"), id="body to the end"),
        pytest.param(drips(b"x" * 500, HEAD + b"Content-Length: 500\r\n\r\n"), id="body"),
        pytest.param(
            drips(b"1\r\nx\r\n" * 90, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"), id="chunks"
        ),
        pytest.param(drips(b"HTTP/1.1 100 C\r\n\r\n" * 30), id="100 Continue"),
        pytest.param(Visit.keep_silent, id="silence"),
    ],
)
def test_whatever_is_dribbled_the_request_ends_by_its_deadline(script: Script):
    with WebServer(script) as server:
        with pytest.raises(DeadlineExceeded):
            post(network(deadline=0.4), to(server))
        assert not server.finished.is_set()


def test_a_dribbled_tls_handshake_ends_by_the_deadline():
    def script(visit: Visit) -> None:
        visit.drip(b"\x16\x03\x03\x3f\xff" + b"\x02\0\x3f\xf0" + b"\x03" * 500)

    with WebServer(script) as server:
        with pytest.raises(DeadlineExceeded):
            post(network(deadline=0.4), to(server, "https"))
        assert not server.finished.is_set()


def test_silence_ends_before_the_deadline():
    with WebServer(Visit.keep_silent) as server:
        with pytest.raises(DeadlineExceeded):
            post(network(read_timeout=0.2, deadline=60), to(server))
        assert not server.finished.is_set()


def test_a_deadline_holds_on_a_connection_that_was_kept_alive():
    def script(visit: Visit) -> None:
        visit.request()
        visit.send(CREATED)
        visit.request()
        visit.drip(b"HTTP/1.1 201 " + b"x" * 500)

    with WebServer(script) as server:
        client = network(deadline=0.4)
        assert post(client, to(server)).status == 201
        with pytest.raises(DeadlineExceeded):
            post(client, to(server))
        assert not server.finished.is_set()
        assert len(server.connections) == 1


def test_one_slow_server_does_not_slow_down_others():
    with WebServer(drips(b"x" * 500)) as slow, WebServer(always(CREATED)) as fast:
        client = network(deadline=1.0)
        failed = threading.Event()

        def wait_for_the_slow_one() -> None:
            with pytest.raises(ConnectionFailed):
                post(client, to(slow))
            failed.set()

        threading.Thread(target=wait_for_the_slow_one).start()
        for _ in range(20):
            assert post(client, to(fast)).status == 201
        assert not failed.is_set()
        assert failed.wait(5)


def test_one_thread_watches_all_requests_and_sockets_are_let_go():
    with WebServer(always(CREATED)) as server:
        client = network()
        post(client, to(server))
        # What tests before this one left open may go meanwhile.
        before = len(list(Path("/proc/self/fd").iterdir()))
        threads = threading.active_count()
        for _ in range(50):
            post(client, to(server))
        assert len(list(Path("/proc/self/fd").iterdir())) < before + 10
        assert threading.active_count() < threads + 10


# Kept-alive connections


def test_a_connection_is_used_again():
    with WebServer(always(CREATED)) as server:
        client = network()
        for _ in range(10):
            assert post(client, to(server)).status == 201
        assert (len(server.connections), len(server.requests)) == (1, 10)


def test_hosts_at_one_address_have_connections_of_their_own():
    with WebServer(always(CREATED)) as server:
        client = network(ZONE + "\ni.example. 60 A 127.0.0.1")
        post(client, to(server))
        post(client, to(server, host="i.example"))
        assert len(server.connections) == 2


def stale(end: Callable[[Visit], None]) -> Script:
    """The first connection answers once, takes a second request, and ends so."""

    def script(visit: Visit) -> None:
        visit.request()
        visit.send(CREATED)
        if visit.request():
            if visit.number == 1:
                end(visit)
            else:
                visit.send(CREATED)

    return script


@pytest.mark.parametrize("end", [lambda visit: None, Visit.reset])
def test_a_connection_that_was_closed_meanwhile_is_replaced_once(end: Callable[[Visit], None]):
    with WebServer(stale(end)) as server:
        client = network()
        assert post(client, to(server)).status == 201
        assert post(client, to(server)).status == 201
        assert len(server.connections) == 2
        assert len(server.requests) == 3


def test_where_all_that_are_kept_were_closed_meanwhile_a_new_one_is_made():
    both = threading.Barrier(2, timeout=20)

    def script(visit: Visit) -> None:
        visit.request()
        if visit.number <= 2:
            both.wait()
        visit.send(CREATED)
        # The first two end when they are to be used again.
        visit.request()

    with WebServer(script) as server:
        client = network()
        threads = [threading.Thread(target=post, args=(client, to(server))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(server.connections) == 2
        assert post(client, to(server)).status == 201
        assert len(server.connections) == 3


@pytest.mark.parametrize("part", [b"H", HEAD, HEAD + b"Content-Length: 9\r\n\r\nx"])
def test_once_anything_was_received_a_request_is_not_repeated(part: bytes):
    with WebServer(stale(lambda visit: visit.send(part))) as server:
        client = network()
        post(client, to(server))
        with pytest.raises(ConnectionFailed):
            post(client, to(server))
        assert len(server.requests) == 2


def test_a_fresh_connection_that_ends_is_not_repeated():
    with WebServer(Visit.request) as server:
        with pytest.raises(ConnectionFailed, match="without an answer"):
            post(network(), to(server))
        assert len(server.connections) == 1


def test_the_number_of_pools_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xhmtp_wsgi.network_pools.MAX_POOLS", 2)
    with WebServer(always(CREATED)) as server:
        client = network("\n".join(f"h{n}.example. 60 A 127.0.0.1" for n in range(4)))
        for n in (0, 1, 2, 3, 3, 2):
            post(client, to(server, host=f"h{n}.example"))
        assert len(server.connections) == 4
        post(client, to(server, host="h0.example"))
        assert len(server.connections) == 5


def test_a_chunk_without_end_is_not_read():
    sent = 0

    def script(visit: Visit) -> None:
        nonlocal sent
        visit.request()
        visit.send(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        while sent < 200_000_000:
            visit.send(b"x" * 65536)
            sent += 65536

    with WebServer(script) as server:
        with pytest.raises(ConnectionFailed):
            post(network(), to(server))
        assert sent < 50_000_000


def test_what_comes_unasked_on_an_idle_connection_is_nobody_s_answer():
    has_come = threading.Event()

    def script(visit: Visit) -> None:
        visit.request()
        visit.send(CREATED)
        has_come.wait(5)
        visit.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        visit.request()

    with WebServer(script) as server:
        client = network()
        assert post(client, to(server)).status == 201
        has_come.set()
        time.sleep(0.2)
        assert post(client, to(server)).status == 201
        assert len(server.connections) == 2


def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again():
    def script(visit: Visit) -> None:
        visit.request()
        size = MAX_ANSWER + 2 * STEP
        visit.send(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % size)
        visit.send(b"x" * (MAX_ANSWER + STEP))
        visit.request()

    with WebServer(script) as server:
        client = network()
        assert [post(client, to(server)).truncated for _ in range(2)] == [True, True]
        assert len(server.connections) == 2


def test_an_answer_that_came_before_all_was_sent_counts(monkeypatch: pytest.MonkeyPatch):
    real = WatchedConnection.send

    def send(connection: WatchedConnection, octets: Any) -> None:
        real(connection, octets)
        if octets == b"url=x":
            raise BrokenPipeError

    monkeypatch.setattr(WatchedConnection, "send", send)
    with WebServer(always(CREATED)) as server:
        assert post(network(), to(server)).status == 201


def test_several_threads_share_a_network():
    with WebServer(always(CREATED)) as server:
        client = network(connections_per_destination=4)
        statuses: list[int] = []

        def work() -> None:
            for _ in range(25):
                statuses.append(post(client, to(server)).status)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert statuses == [201] * 100
        assert len(server.connections) <= 4


def test_after_a_fork_the_child_has_connections_of_its_own():
    with WebServer(always(CREATED)) as server:
        client = network()
        post(client, to(server))
        with client._kept._lock:
            child = os.fork()
            if child == 0:
                try:
                    os._exit(0 if post(client, to(server)).status == 201 else 1)
                except BaseException:
                    os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(server.connections) == 2
        post(client, to(server))
        assert len(server.connections) == 2


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_tls_bears_the_hosts_name_and_is_kept_alive(authority: Authority):
    names: list[str | None] = []
    context = authority.server(HOST)
    context.sni_callback = lambda connection, name, context: names.append(name)
    with WebServer(always(CREATED), tls=context) as server:
        client = network(tls_ca_file=authority.file)
        for _ in range(3):
            assert post(client, to(server, "https")).status == 201
        assert names == [HOST]
        assert len(server.requests) == 3


@pytest.mark.parametrize("end", [lambda visit: None, Visit.reset])
def test_a_tls_connection_that_was_closed_meanwhile_is_replaced(
    authority: Authority, end: Callable[[Visit], None]
):
    with WebServer(stale(end), tls=authority.server(HOST)) as server:
        client = network(tls_ca_file=authority.file)
        for _ in range(2):
            assert post(client, to(server, "https")).status == 201
        assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("host", "days", "self_signed", "reason"),
    [
        (HOST, -1, False, "has expired"),
        ("other.example", 1, False, "another name"),
        (HOST, 1, True, "self-signed"),
    ],
)
def test_a_bad_certificate_is_named_and_nothing_is_sent(
    authority: Authority, host: str, days: int, self_signed: bool, reason: str
):
    context = authority.server(host, days=days, self_signed=self_signed)
    with WebServer(always(CREATED), tls=context) as server:
        with pytest.raises(TLSFailed, match=reason):
            post(network(tls_ca_file=authority.file), to(server, "https"))
        assert server.requests == []
        assert len(server.connections) == 1


def test_an_unknown_authority_is_named(authority: Authority):
    with (
        WebServer(always(CREATED), tls=authority.server(HOST)) as server,
        pytest.raises(TLSFailed, match="issuer is not known"),
    ):
        post(network(), to(server, "https"))


def test_old_versions_of_tls_are_not_spoken(authority: Authority):
    context = authority.server(HOST)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        WebServer(always(CREATED), tls=context) as server,
        pytest.raises(TLSFailed, match="version of TLS"),
    ):
        post(network(tls_ca_file=authority.file), to(server, "https"))


def test_a_server_without_tls_is_not_spoken_to_in_clear(authority: Authority):
    seen: list[bytes] = []

    def script(visit: Visit) -> None:
        seen.append(visit.connection.recv(5))
        visit.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with WebServer(script) as server:
        with pytest.raises(TLSFailed, match="does not speak TLS"):
            post(network(tls_ca_file=authority.file), to(server, "https"))
        assert len(server.connections) == 1
        assert seen[0][:2] == b"\x16\x03"
