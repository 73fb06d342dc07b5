"""xhmtp key, filter, quarantine, inbox, read and send --sign, as people meet them at a terminal."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demonstration.name_server import NameServer
from tests.live.delivery import fill, name_server, sender
from tests.live.servers import AgentServer, running
from tests.test_ssh_signature import keygen
from xhmtp_wsgi.protocol.endpoint import Endpoint


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@pytest.fixture
def a(tmp_path: Path, dns: NameServer) -> Iterator[AgentServer]:
    """alice's and bob's agent, under gunicorn."""
    made = sender(tmp_path, dns.port, "retry_first = 0.1\nretry_longest = 0.2\n")
    made.agent().accounts.add(Endpoint.parse("bob@a.example"), None)
    dns.set_zone(made.records())
    with running(made):
        yield made


def one_line(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_domains_key_is_made_seen_and_retired(a: AgentServer, dns: NameServer):
    assert a.must("xhmtp", "key", "list").startswith("a.example has no key")
    made = a.must("xhmtp", "key", "add")
    record = re.search(r"^  (k\S+)\. TXT \"(v=xhmtp1; k=ed25519; p=\S+)\"$", made, re.MULTILINE)
    assert record is not None
    assert "not seen in the DNS yet" in a.must("xhmtp", "key", "list")
    zone = a.records() + f'{record[1]}. 60 TXT "{record[2]}"\n'
    dns.set_zone(zone)
    listed = a.must("xhmtp", "key", "list", "a.example")
    assert re.search(r"  signs$", listed, re.MULTILINE)
    selector = record[1].partition(".")[0]
    assert "stays" in one_line(a.run("xhmtp", "key", "retire", "a.example", selector), 1)
    assert "it signs 1 h after" in a.must("xhmtp", "key", "add", "a.example")
    assert "name one of" in one_line(a.run("xhmtp", "key", "add", "other.example"), 1)


def test_filters_are_added_tried_and_removed(a: AgentServer):
    owner = "bob@a.example"
    assert "rule 1" in a.must("xhmtp", "filter", "add", owner, "quarantine", "*@a.example")
    a.must("xhmtp", "filter", "add", "a.example", "refuse", "*", "--header", "Subject",
           "--pattern", "*spam*")  # fmt: skip
    listed = a.must("xhmtp", "filter", "list", owner)
    assert re.search(r"1  quarantine  \*@a\.example", listed)
    tried = a.must("xhmtp", "filter", "test", owner, "--from", "x@a.example")
    assert tried.startswith("quarantine: rule 1 of bob@a.example")
    tried = a.must("xhmtp", "filter", "test", owner, "--from", "x@y.example",
                   "--header", "Subject: more spam here")  # fmt: skip
    assert tried.startswith("refuse: rule 2 of a.example")
    assert a.must("xhmtp", "filter", "test", owner).startswith("accept: no rule matches")
    a.must("xhmtp", "filter", "remove", owner, "1")
    assert "no rule 1" in one_line(a.run("xhmtp", "filter", "remove", owner, "1"), 1)
    assert "is none of" in one_line(a.run("xhmtp", "filter", "add", owner, "refuse", "x"), 1)
    assert "act for" in one_line(a.run("xhmtp", "filter", "list", "b.example"), 1)
    one_line(a.run("xhmtp", "filter", "add", owner, "burn", "*"), 2)


def test_what_is_in_quarantine_is_listed_and_released(a: AgentServer):
    a.must("xhmtp", "filter", "add", "bob@a.example", "quarantine", "*")
    fill(a.agent(), ["bob@a.example"], 2, "kept")
    a.must("xhmtp-notify")
    assert len(a.must("xhmtp", "inbox", "bob@a.example").splitlines()) == 1, "the titles alone"
    lines = a.must("xhmtp", "quarantine", "list", "bob@a.example").splitlines()
    assert len(lines) == 3
    assert "kept1" in lines[1]
    first, second = (line.split()[0] for line in lines[1:])
    a.must("xhmtp", "quarantine", "release", "bob@a.example", first)
    a.must("xhmtp", "quarantine", "drop", "bob@a.example", second)
    inbox = a.must("xhmtp", "inbox", "bob@a.example").splitlines()
    assert "kept1" in inbox[1]
    assert "origin pass, agent pass, signature none" in inbox[1]
    found = json.loads(a.must("xhmtp", "inbox", "--json", "bob@a.example"))
    assert found["checks"]["agent"]["result"] == "pass"
    done = a.run("xhmtp", "quarantine", "release", "bob@a.example", second)
    assert "nothing in quarantine" in one_line(done, 1)


def test_alice_signs_and_bob_reads(a: AgentServer, tmp_path: Path):
    key, other = tmp_path / "key", tmp_path / "other"
    for file in (key, other):
        keygen("-t", "ed25519", "-N", "", "-f", str(file))
    told = a.must("xhmtp", "key", "add", "alice@a.example", f"{key}.pub")
    assert told.startswith("alice@a.example signs with SHA256:")
    assert "signs  SHA256:" in a.must("xhmtp", "key", "list", "alice@a.example")

    def send(with_key: Path) -> None:
        arguments = ("--from", "alice@a.example", "--to", "bob@a.example", "--subject", "signed")
        a.must("xhmtp", "send", *arguments, "--sign", str(with_key), typed="Hello Bob\n")
        a.must("xhmtp-notify")

    send(key)
    done = a.run("xhmtp", "read", "bob@a.example", "1")
    assert done.returncode == 0
    assert "Hello Bob" in done.stdout
    assert "digest: pass" in done.stderr
    assert "author: pass (signed by alice@a.example; first seen now" in done.stderr
    send(other)
    done = a.run("xhmtp", "read", "bob@a.example", "2")
    assert done.returncode == 1
    assert "author: fail (signed with another key" in done.stderr
    assert a.run("xhmtp", "read", "--trust-new-key", "bob@a.example", "2").returncode == 0
    assert "no message 9" in one_line(a.run("xhmtp", "read", "bob@a.example", "9"), 1)
    fingerprint = told.split()[-1]
    a.must("xhmtp", "key", "retire", "alice@a.example", fingerprint)
    assert "publishes no key" in a.must("xhmtp", "key", "list", "alice@a.example")
