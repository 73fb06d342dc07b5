"""Our commands, and gunicorn, as processes of their own, forked from one that has imported them.

They are real processes: with files for standard input and output, to be killed, waited for, and
gone at their end. Only the half second of imports is spared, of which a suite pays hundreds.

python -m tests.command_process    serves: a job a line on standard input, pids and codes on output
"""

import atexit
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

# By what they are called: the module, and its function that does it.
PROGRAMS = {
    "xhmtp": ("xhmtp_wsgi.commands.xhmtp", "main"),
    "xhmtp-notify": ("xhmtp_wsgi.commands.notify", "main"),
    "xhmtp-sendmail": ("xhmtp_wsgi.commands.sendmail", "main"),
    "gunicorn": ("gunicorn.app.wsgiapp", "run"),
}
# What they import when they first need it.
LATER = (
    "cryptography.hazmat.primitives.asymmetric.ed25519", "gunicorn.arbiter",
    "gunicorn.workers.gthread", "gunicorn.workers.sync", "http_message_signatures", "psycopg",
    "sqlalchemy.dialects.postgresql", "xhmtp_wsgi.middleware",
)  # fmt: skip


class ForkedCommand:
    """One of our commands, as it runs; what it prints goes to files."""

    def __init__(self, pid: int, server: "_Server") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def wait(self, timeout: float = 120.0) -> int:
        """Its exit code, or minus the signal that ended it; TimeoutError if it goes on."""
        if self.returncode is None:
            self.returncode = self._server.code_of(self.pid, timeout)
        return self.returncode

    def poll(self) -> int | None:
        """The same, None while it goes on."""
        if self.returncode is None:
            self.returncode = self._server.codes.get(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """kill -15."""
        self.send_signal(signal.SIGTERM)


def start_command(
    program: str,
    *arguments: str,
    typed: Path | None = None,
    printed: Path | None = None,
    errors: Path | None = None,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ForkedCommand:
    """Starts one; without files it reads nothing, and what it prints is lost."""
    job = {
        "program": program,
        "arguments": arguments,
        "files": [str(file or os.devnull) for file in (typed, printed, errors)],
        "directory": str(directory or Path.cwd()),
        "environment": dict(os.environ if environment is None else environment),
    }
    return _server().start(job)


def run_command(
    program: str,
    *arguments: str,
    typed: str = "",
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> "subprocess.CompletedProcess[str]":
    """Runs one to its end."""
    with tempfile.TemporaryDirectory() as kept:
        files = [Path(kept) / name for name in ("typed", "printed", "errors")]
        files[0].write_text(typed)
        command = start_command(
            program, *arguments, typed=files[0], printed=files[1], errors=files[2],
            directory=directory, environment=environment,
        )  # fmt: skip
        try:
            code = command.wait(timeout)
        except TimeoutError:
            command.kill()
            raise
        return subprocess.CompletedProcess(
            [program, *arguments], code, files[1].read_text(), files[2].read_text()
        )


class _Server:
    """The process that forks them, as its client sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
        self.codes: dict[int, int] = {}
        self._started: list[int] = []
        self._ended = False
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.stop)

    def start(self, job: Mapping[str, Any]) -> ForkedCommand:
        with self._starting:
            _stream(self._process.stdin).write(json.dumps(job) + "\n")
            _stream(self._process.stdin).flush()
            with self._changed:
                self._changed.wait_for(lambda: bool(self._started) or self._ended, 60)
                if not self._started:
                    raise TimeoutError("no process was forked; standard error says why")
                return ForkedCommand(self._started.pop(), self)

    def code_of(self, pid: int, timeout: float) -> int:
        with self._changed:
            if not self._changed.wait_for(lambda: pid in self.codes, timeout):
                raise TimeoutError(f"process {pid} goes on after {timeout} s")
            return self.codes.pop(pid)

    def stop(self) -> None:
        _stream(self._process.stdin).close()
        self._process.wait(timeout=10)

    def _listen(self) -> None:
        for line in _stream(self._process.stdout):
            pid, _, code = line.partition(" ")
            with self._changed:
                if code.strip():
                    self.codes[int(pid)] = int(code)
                else:
                    self._started.append(int(pid))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


_servers: dict[int, _Server] = {}


def _server() -> _Server:
    """The one of this process; started when first asked for."""
    if os.getpid() not in _servers:
        _servers[os.getpid()] = _Server()
    return _servers[os.getpid()]


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


# In the process that forks


def serve() -> None:
    """Forks what is asked for on standard input, until that is closed."""
    for module in (*(module for module, _ in PROGRAMS.values()), *LATER):
        import_module(module)
    # It goes on in all children: none of them is to look for garbage in it, and so copy it.
    gc.freeze()
    # A pipe that a signal writes to: so one select waits for both, jobs and children's ends.
    ended, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    asked = b""
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _reap()
        if 0 in ready:
            octets = os.read(0, 1 << 16)
            if not octets:
                return
            *lines, asked = (asked + octets).split(b"\n")
            for line in lines:
                _fork(json.loads(line), (ended, tell))


def _fork(job: Mapping[str, Any], pipe: tuple[int, int]) -> None:
    pid = os.fork()
    if pid:
        _tell(f"{pid} ")
        return
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in pipe:
            os.close(end)
        code = _work(job)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _work(job: Mapping[str, Any]) -> int:
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["directory"])
    flags = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2)
    for number, (name, flag) in enumerate(zip(job["files"], flags, strict=True)):
        opened = os.open(name, flag, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = [job["program"], *job["arguments"]]
    try:
        module, function = PROGRAMS[job["program"]]
        getattr(import_module(module), function)()
    except SystemExit as end:
        # As the interpreter itself does it.
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(f"{pid} {os.waitstatus_to_exitcode(status)}")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
