"""wrk (Debian's) as the client: ready-made requests from a file, or one request again and again.

A rate counts only answers of the status that is expected; any other answer ends the measurement.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.programs import program

# Each request is read from the file when it is sent: its length in a line of its own, then itself.
# What the file does not have any more is not asked for again: wrk stops there, and says how far.
_SCRIPT = """
local file = assert(io.open("FILE", "rb"))
local last = nil
function request()
  local length = file:read("*n")
  if length == nil then return last end
  file:read(1)
  last = file:read(length)
  return last
end
"""
_COUNT = """
local expected = EXPECTED
local other = {}
function setup(thread) table.insert(other, thread) end
function init(args) wrong = 0 good = 0 shown = "" end
function response(status, headers, body)
  if status == expected then good = good + 1
  else wrong = wrong + 1 shown = status .. " " .. string.sub(body or "", 1, 200) end
end
function done(summary, latency, requests)
  local g, w, s = 0, 0, ""
  for _, thread in ipairs(other) do
    g = g + thread:get("good") w = w + thread:get("wrong") s = s .. thread:get("shown")
  end
  io.write(string.format("good %d wrong %d micros %d %s\\n", g, w, summary.duration, s))
end
"""


def write_requests(file: Path, requests: Sequence[bytes]) -> None:
    """The file that ``rate_of_file`` sends from."""
    with file.open("wb") as target:
        for request in requests:
            target.write(b"%d\n" % len(request) + request)


def rate_of_file(url: str, file: Path, *, expected: int, connections: int, seconds: int) -> float:
    """Answers a second to the requests of the file, one after another."""
    script = _SCRIPT.replace("FILE", str(file)) + _COUNT.replace("EXPECTED", str(expected))
    return _run(url, file.with_suffix(".lua"), script, connections, seconds, [])


def rate_of(
    url: str,
    directory: Path,
    *,
    headers: Sequence[tuple[str, str]] = (),
    expected: int = 200,
    connections: int = 8,
    seconds: int = 3,
) -> float:
    """Answers a second to one request."""
    options = [one for name, value in headers for one in ("-H", f"{name}: {value}")]
    script = _COUNT.replace("EXPECTED", str(expected))
    return _run(url, directory / "wrk.lua", script, connections, seconds, options)


def _run(
    url: str, file: Path, script: str, connections: int, seconds: int, options: list[str]
) -> float:
    file.write_text(script)
    done = subprocess.run(
        [program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(file),
         *options, url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"good (\d+) wrong (\d+) micros (\d+) ?(.*)", done.stdout)
    if found is None or int(found[2]) or not int(found[1]):
        raise RuntimeError(f"wrk: {done.stdout[-1000:]} {done.stderr[-1000:]}")
    return int(found[1]) / int(found[3]) * 1e6
