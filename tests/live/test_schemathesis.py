"""schemathesis takes the served description at its word, and finds no answer that breaks it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.live.delivery import fill, name_server
from tests.live.servers import BIN, PREFIX, AgentServer, running
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live]

EXAMPLES = os.environ.get("XHMTP_EXAMPLES", "4")  # of each operation; ask for more by hand


def test_everything_is_answered_as_it_is_described(quick_path: Path):
    with name_server() as dns:
        b = AgentServer(
            "b.example", "127.0.0.1", quick_path / "b", dns.port, options=("--threads", "4"),
            # So many wrong passwords as the check for ignored ones tries.
            extra_settings="failed_logins = 10000",
        )  # fmt: skip
        dns.set_zone(b.records())
        agent = b.agent()
        for name in ("bob", "ann"):
            agent.accounts.add(Endpoint.parse(f"{name}@b.example"), "builder")
        (quick_path / "schemathesis.toml").write_text(
            "[checks.positive_data_acceptance]\n"
            # What is of the right form may still name nobody.
            'expected-statuses = ["2xx", "401", "403", "404", "409", "410", "422", "507"]\n'
        )
        fill(agent, ["bob@b.example"], 3, sender="ann@b.example")
        with running(b):
            b.must("xhmtp-notify")
            done = subprocess.run(
                [str(BIN / "schemathesis"), "run", f"{b.url}/{PREFIX}/openapi.json",
                 "--url", f"{b.url}/{PREFIX}/bob%40b.example/api",
                 "--auth", "bob@b.example:builder", "--checks", "all",
                 "--max-examples", EXAMPLES, "--generation-deterministic", "--no-color",
                 "--suppress-health-check", "all"],
                cwd=quick_path, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
