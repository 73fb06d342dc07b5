"""nginx as a peer: answers 201 to everything, or serves files behind auth_basic."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import program
from tests.live.servers import answers, free_port, until

ANSWERS_201 = "location / { return 201; }"
BATCH = 100  # notifications
_ANSWERS = ",".join(['{"status":201}'] * BATCH)
ANSWERS_BATCHES = f"""
location / {{ add_header XHMTP-Batch "{BATCH};octets=1048576"; return 201; }}
location ~ /@ {{ default_type application/json; return 200 '{{"answers":[{_ANSWERS}]}}'; }}
"""
"""Announces batches of just that many, and takes those."""


@dataclass
class Nginx:
    """One, with two workers, as our gunicorn has."""

    address: str
    port: int
    process: "subprocess.Popen[bytes]"


def files_with_password(root: Path, user: str, password: str) -> str:
    """A location with files, open to one user; his password is kept plainly, so costs nothing."""
    (root.parent / "htpasswd").write_text(f"{user}:{{PLAIN}}{password}\n")
    (root.parent / "htpasswd").chmod(0o644)
    return (
        f"root {root};\nsendfile on;\ntcp_nopush on;\n"
        f'location / {{ auth_basic "files"; auth_basic_user_file {root.parent}/htpasswd; }}'
    )


@contextmanager
def nginx(directory: Path, server: str, address: str = "127.0.0.4") -> Iterator[Nginx]:
    """Runs one with these lines in its server block. Raises NotMeasured."""
    found, port = program("nginx", "nginx"), free_port(address)
    directory.mkdir(parents=True, exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    (directory / "nginx.conf").write_text(
        f"worker_processes 2;\ndaemon off;\npid {directory}/nginx.pid;\n"
        f"error_log {directory}/error.log;\nevents {{ worker_connections 4096; }}\n"
        f"http {{\naccess_log off;\n{places}keepalive_requests 100000000;\n"
        f"server {{\nlisten {address}:{port} backlog=4096;\n{server}\n}}\n}}\n"
    )
    process = subprocess.Popen(
        [found, "-c", str(directory / "nginx.conf"), "-p", str(directory)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: answers(f"http://{address}:{port}/"), "nginx answers")
        yield Nginx(address, port, process)
    finally:
        process.terminate()
        process.wait(timeout=30)
