"""Benchmarks run, in small, and print their table. No figure of them is a claim of this test.

By default two of the rows, as all take a minute and a half; XHMTP_BENCHMARKS=all has them all run.
"""

import os
import subprocess
import sys

import pytest

from benchmarks.__main__ import ROWS
from tests.documents import ROOT

pytestmark = [pytest.mark.live]
CHOSEN = ROWS if os.environ.get("XHMTP_BENCHMARKS") == "all" else (4, 6)


@pytest.mark.parametrize("row", CHOSEN)
def test_a_benchmark_runs_and_prints_its_table(row: int):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--row", str(row), "--quick"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if "apt-get install" in done.stdout or "needs root" in done.stdout:
        pytest.skip(done.stdout.partition("not measured: ")[2].strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{row}. ")
    assert "ours " in done.stdout
