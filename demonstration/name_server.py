"""A small real name server for loopback, over UDP and TCP: for the demonstration and the tests.

It answers with authority for whatever its zone holds. The zone can change while it serves, and
names can be made to fail. Not for anything but loopback.

python demonstration/name_server.py ZONE --port 5300    serves a file, read anew when it changes
"""

import argparse
import re
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

OnQuestion = Callable[[str, str], None]
Records = dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset]
Fault = Literal["servfail", "refused", "timeout", "truncate", "garbage", "forged"]
"""``truncate``: over UDP; ``garbage``: nothing else comes; ``forged``: before the right answer."""

LONGEST_CHAIN = 8  # aliases
PLAIN_UDP = 512  # octets, where a question says nothing of its size (RFC 1035)
DEFAULT_TTL = 5  # seconds, where a line names none: what changes is soon seen
_LINE = re.compile(
    r"(?P<name>\S+)\s+((?P<ttl>\d+)\s+)?(IN\s+)?(?P<kind>\w+)\s+(?P<data>.+)", re.ASCII
)


class NameServer:
    """Answers for a zone that is lines such as ``www.a.example. 60 A 127.0.0.1``."""

    def __init__(
        self,
        zone: str = "",
        address: str = "127.0.0.1",
        port: int = 0,
        on_question: OnQuestion | None = None,
    ) -> None:
        """Port 0: any that is free. ``on_question`` is told each question and its answer, as text.

        ``faults`` says which names fail, and how.
        """
        self.on_question = on_question
        self.faults: dict[str, Fault] = {}
        self.set_zone(zone)
        self._udp, self._tcp = _servers(self, address, port)
        self.address = address
        self.port: int = self._udp.server_address[1]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins to answer."""
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in (self._udp, self._tcp)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Answers no more, and lets the port go."""
        for server in (self._udp, self._tcp):
            if self._threads:
                server.shutdown()
            server.server_close()
        self._threads = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def set_zone(self, zone: str) -> None:
        """Replaces the whole zone. Raises ValueError or DNSException where it is none."""
        records: Records = {}
        for line in filter(str.strip, zone.splitlines()):
            if line.lstrip().startswith(";"):
                continue
            name, ttl, kind, data = _fields(line)
            key = (dns.name.from_text(name), dns.rdatatype.from_text(kind))
            rrset = records.setdefault(key, dns.rrset.RRset(key[0], dns.rdataclass.IN, key[1]))
            rrset.add(dns.rdata.from_text("IN", kind, data), ttl)
        self._records = records

    def answers(self, octets: bytes, *, over_tcp: bool) -> list[bytes]:
        """What is sent back for a question in wire format; mostly one packet."""
        try:
            query = dns.message.from_wire(octets)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return []
        name = question.name.to_text(omit_final_dot=True).lower()
        fault = self.faults.get(name)
        reply = self._reply(query, question, fault)
        if fault == "truncate" and not over_tcp:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
        if self.on_question is not None:
            kind = dns.rdatatype.to_text(question.rdtype)
            self.on_question(f"{name} {kind}?", _as_text(reply.answer, reply.rcode()))
        size = 65535 if over_tcp else max(query.payload, PLAIN_UDP)
        wire = reply.to_wire(max_size=size, prefer_truncation=True)
        forged = bytes([wire[0] ^ 0xFF]) + wire[1:]
        return {"timeout": [], "garbage": [b"\xff" * 40], "forged": [forged, b"\0", wire]}.get(
            fault or "", [wire]
        )

    def _reply(
        self, query: dns.message.Message, question: dns.rrset.RRset, fault: Fault | None
    ) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        if fault in ("servfail", "refused"):
            reply.set_rcode(dns.rcode.SERVFAIL if fault == "servfail" else dns.rcode.REFUSED)
            return reply
        records, name = self._records, question.name
        for _ in range(LONGEST_CHAIN):
            alias = records.get((name, dns.rdatatype.CNAME))
            if alias is None or question.rdtype == dns.rdatatype.CNAME:
                break
            reply.answer.append(alias)
            name = alias[0].target
        found = records.get((name, question.rdtype))
        if found is not None:
            reply.answer.append(found)
            return reply
        # A name above one that exists does exist, if only as an empty one (RFC 8020).
        if not any(known.is_subdomain(name) for known, _ in records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.authority += [
            rrset
            for (owner, kind), rrset in records.items()
            if kind == dns.rdatatype.SOA and name.is_subdomain(owner)
        ]
        return reply


class ZoneFileServer(NameServer):
    """Answers for a zone that is a file: what is written into it is known at the next question."""

    def __init__(self, path: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        """Raises OSError where there is no such file, ValueError or DNSException if it is none."""
        self._path = path
        self._seen = path.stat()
        super().__init__(path.read_text(), address, port)

    def answers(self, octets: bytes, *, over_tcp: bool) -> list[bytes]:
        """As the file stands now; as it was, where it has become unreadable."""
        try:
            now = self._path.stat()
            if (now.st_mtime_ns, now.st_size) != (self._seen.st_mtime_ns, self._seen.st_size):
                self.set_zone(self._path.read_text())
                self._seen = now
        except (OSError, ValueError, dns.exception.DNSException) as error:
            print(f"{self._path} is not read: {error}", flush=True)
        return super().answers(octets, over_tcp=over_tcp)


class _UDPServer(socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 4096


class _TCPServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _UDPHandler(socketserver.BaseRequestHandler):
    name_server: NameServer

    def handle(self) -> None:
        octets, connection = self.request
        for reply in self.name_server.answers(octets, over_tcp=False):
            connection.sendto(reply, self.client_address)


class _TCPHandler(socketserver.StreamRequestHandler):
    name_server: NameServer
    timeout = 5

    def handle(self) -> None:
        head = self.rfile.read(2)
        if len(head) == 2:
            octets = self.rfile.read(struct.unpack("!H", head)[0])
            for reply in self.name_server.answers(octets, over_tcp=True):
                self.wfile.write(struct.pack("!H", len(reply)) + reply)


def _fields(line: str) -> tuple[str, int, str, str]:
    """Name, TTL, type and data of a line; TTL and class may be left out. Raises ValueError."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise ValueError(f"{line!r} is not a record")
    return found["name"], int(found["ttl"] or DEFAULT_TTL), found["kind"], found["data"]


def _servers(name_server: NameServer, address: str, port: int) -> tuple[_UDPServer, _TCPServer]:
    """Both on one port; where it is free for one only, another is tried."""

    def handler(base: type[Any]) -> type[Any]:
        return type(base.__name__, (base,), {"name_server": name_server})

    for tries_left in reversed(range(8)):
        udp = _UDPServer((address, port), handler(_UDPHandler))
        try:
            return udp, _TCPServer((address, udp.server_address[1]), handler(_TCPHandler))
        except OSError:
            udp.server_close()
            if port or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _as_text(answer: Iterable[dns.rrset.RRset], code: dns.rcode.Rcode) -> str:
    records = [data.to_text() for rrset in answer for data in rrset]
    return ", ".join(records) or ("none" if code == dns.rcode.NOERROR else dns.rcode.to_text(code))


def main() -> None:
    """Serves a zone file on loopback until it is ended."""
    parser = argparse.ArgumentParser(description="A name server for one zone file, on loopback.")
    parser.add_argument("zone", type=Path, help="the file; read anew when it has changed")
    parser.add_argument("--port", type=int, default=0, help="by default any that is free")
    arguments = parser.parse_args()
    try:
        server = ZoneFileServer(arguments.zone, port=arguments.port)
    except (OSError, ValueError, dns.exception.DNSException) as error:
        parser.exit(1, f"name_server.py: {error}\n")
    server.on_question = lambda question, answer: print(f"{question} {answer}", flush=True)
    print(f"answering on {server.address}:{server.port} for {arguments.zone}", flush=True)
    with server, suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    main()
