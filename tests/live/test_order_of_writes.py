"""No 201 leaves before what it promises is on the disk: the system calls are watched with strace.

The same check must fail for an agent that is set to synchronous=NORMAL, or it would prove nothing.
"""

import http.client
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.live.delivery import name_server
from tests.live.servers import PREFIX, AgentServer, need, running, until
from tests.world import basic
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live]

ANSWERS = 30
_CALL = re.compile(r"^(\d+) +(\w+)\((\d+)<([^>]*)>(.*)$")


@contextmanager
def traced(server: AgentServer, file: Path) -> Iterator[None]:
    """The server's worker under strace while this lasts."""
    program = need("strace")
    (worker,) = server.workers()
    tracer = subprocess.Popen(
        [program, "-f", "-y", "-s", "64", "-o", str(file), "-p", str(worker),
         "-e", "trace=pwrite64,write,fsync,fdatasync,sendto,sendmsg,writev"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if "attached" not in line:
        tracer.wait()
        pytest.skip(f"strace may not attach here: {line.strip()}")
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def early_answers(file: Path) -> tuple[int, int]:
    """How many 201 there were, and how many of them left while what was written was not synced."""
    unsynced: set[str] = set()
    answers, early = 0, 0
    for line in file.read_text(errors="replace").splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        _, call, _, path, rest = found.groups()
        if path.endswith(("-wal", ".db")):
            if call in ("pwrite64", "write"):
                unsynced.add(path)
            elif call in ("fsync", "fdatasync"):
                unsynced.discard(path)
        elif call in ("sendto", "sendmsg", "write", "writev") and "HTTP/1.1 201" in rest:
            answers += 1
            early += bool(unsynced)
    return answers, early


def inject(server: AgentServer, number: int) -> int:
    message = f"From: alice@a.example\r\nTo: bob@a.example\r\nSubject: {number}\r\n\r\nx"
    headers = {
        "Content-Type": "message/rfc822",
        "Authorization": basic("alice@a.example", "wonderland"),
    }
    return post(server, "/alice/", message.encode(), headers)


def notify(server: AgentServer, number: int) -> int:
    identifier = f"{number:026}".translate(str.maketrans("0123456789", "abcdefghij"))
    url = f"http://bob%40a.example:CODE@{server.host}:{server.port}/{PREFIX}/alice/{identifier}"
    form = urlencode({"url": url, "headers": "Subject: x\r\n"})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return post(server, "/bob@a.example", form.encode(), headers)


def post(server: AgentServer, path: str, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(server.address, server.port, timeout=30)
    try:
        connection.request("POST", f"/{PREFIX}{path}", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("what", [inject, notify])
@pytest.mark.parametrize(
    ("application", "careless"),
    [("xhmtp_wsgi.wsgi:application", False), ("tests.live.unsynced:application", True)],
    ids=["as it is", "synchronous=NORMAL"],
)
def test_no_201_leaves_before_it_is_synced(what, application: str, careless: bool, tmp_path: Path):
    need("strace")
    with name_server() as dns:
        server = AgentServer(
            "a.example", "127.0.0.1", tmp_path / "a", dns.port, application=application
        )
        dns.set_zone(server.records())
        accounts = server.agent().accounts
        accounts.add(Endpoint.parse("alice@a.example"), "wonderland")
        accounts.add(Endpoint.parse("bob@a.example"), None)
        calls = tmp_path / "calls"
        with running(server):
            until(lambda: what(server, 99) in (200, 201), "it answers")
            with traced(server, calls):
                got = [what(server, number) for number in range(11, 11 + ANSWERS)]
        assert set(got) == {201}
    answers, early = early_answers(calls)
    assert answers == ANSWERS, "the check sees what it is to check"
    if careless:
        assert early > answers / 2, "the check finds an agent that does not sync"
    else:
        assert early == 0
