"""Starts agents under the web servers that contrib/ has files for, with those very files.

Only names, paths and ports are changed in them, and each change must find what it changes: so what
the tests run is what an administrator copies.
"""

import grp
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import log_search
from tests.documents import ROOT
from tests.live.servers import BIN, AgentServer, answers, free_port, need, until

CONTRIB = ROOT / "contrib"
WEB_USER = "www-data"  # whom Debian's Apache and nginx serve as
APACHE_MODULES = (
    "mpm_event", "authz_core", "deflate", "env", "filter", "reqtimeout", "setenvif",
)  # fmt: skip

# A site that tells what reached it; it reads the body to its end, as told by its length.
SITE = """\
import json


def application(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    told = {
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "script": environ.get("SCRIPT_NAME", ""),
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "body": environ["wsgi.input"].read(length).decode() if length else "",
    }
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("X-Site", "its own"),
                              ("Content-Length", str(len(body)))])
    return [body]
"""


def from_contrib(name: str, changes: Mapping[str, str]) -> str:
    """A file of contrib/, with each of the changes made wherever it applies, and at least once."""
    text = (CONTRIB / name).read_text()
    for old, new in changes.items():
        assert old in text, f"contrib/{name} has no {old!r}"
        text = text.replace(old, new)
    return text


@dataclass
class ContribServer(AgentServer):
    """An agent under some web server, as contrib/ has it.

    ``changes``: more changes to the server's file, made before those of paths and names.
    """

    changes: dict[str, str] = field(default_factory=dict)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    trusted_proxies: str = "[]"
    inner_ports: set[int] = field(default_factory=set)
    """Those at which parts of the server speak to each other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings.write_text(
            from_contrib(
                "xhmtp.toml",
                {
                    "/var/lib/xhmtp/xhmtp.db": f"{self.directory}/{self.domain}.db",
                    "/var/lib/xhmtp": str(self.directory),
                    "example.org": self.domain,
                    "trusted_proxies = []": f"trusted_proxies = {self.trusted_proxies}",
                    "resolver = []": f'resolver = ["127.0.0.1:{self.dns_port}"]',
                    "allow_networks = []": 'allow_networks = ["127.0.0.0/8"]',
                },
            )
            + self.extra_settings
        )
        (self.directory / "logs").mkdir()
        (self.directory / "mysite.py").write_text(SITE)
        self.write("wsgi.py", "wsgi.py", {"/etc/xhmtp/xhmtp.toml": str(self.settings)})

    @property
    def log(self) -> Path:
        """Where what the server itself prints goes; its logs are beside it."""
        return self.directory / "logs" / "printed.log"

    @property
    def error_log(self) -> Path:
        """Where warnings of ours go."""
        return self.directory / "logs" / "error.log"

    def logs(self) -> str:
        """All that was logged, whichever the file."""
        files = sorted((self.directory / "logs").iterdir())
        return "".join(file.read_text(errors="replace") for file in files)

    def write(self, name: str, source: str, changes: Mapping[str, str]) -> Path:
        """A file of contrib/ in this agent's directory."""
        file = self.directory / name
        file.write_text(
            from_contrib(source, {**self.changes, **changes} if name != "wsgi.py" else changes)
        )
        return file

    def places(self, *names: str) -> dict[str, str]:
        """The changes for the paths that a file names."""
        here = str(self.directory)
        known = {
            "/srv/example/venv": str(BIN.parent),
            "/srv/example": here,
            "/var/log/xhmtp": f"{here}/logs",
            "/var/log/nginx": f"{here}/logs",
            "/var/log/apache2": f"{here}/logs",
            "/run/xhmtp": here,
        }
        return {name: known[name] for name in names}

    def launch(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Starts one process of the server's."""
        with self.log.open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    command, cwd=self.directory, env={**os.environ, **(environment or {})},
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )
            )  # fmt: skip

    def configure(self) -> None:
        """Writes the server's files and starts its processes."""
        raise NotImplementedError

    def start(self) -> None:
        self.configure()
        try:
            until(lambda: self._ended() or self.is_up(), f"{self.domain} answers")
            assert not self._ended(), f"the server of {self.domain} ended"
        except AssertionError as error:
            raise AssertionError(f"{error}; it logged:\n{self.logs()[-4000:]}") from None

    def listening_ports(self) -> set[int]:
        """The TCP ports that the server's processes wait at."""
        processes = _with_children(process.pid for process in self.processes)
        sockets = {name for process in processes for name in _open_files(process)}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        waiting = "0A"
        return {
            int(row[1].partition(":")[2], 16)
            for row in rows
            if row[3] == waiting and f"socket:[{row[9]}]" in sockets
        }

    def _ended(self) -> bool:
        return any(process.poll() is not None for process in self.processes)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        log_search.keep(self.logs())


class Gunicorn(ContribServer):
    """gunicorn with nothing before it."""

    source = "gunicorn/alone.conf.py"

    def configure(self) -> None:
        file = self.write(
            "gunicorn.conf.py",
            self.source,
            {
                "0.0.0.0:8080": f"{self.address}:{self.port}",
                'chdir = "/srv/example"': f'chdir = "{self.directory}"',
                **self.places("/var/log/xhmtp", "/run/xhmtp"),
            },
        )
        self.launch(str(BIN / "gunicorn"), "--config", str(file))


class SyncGunicorn(Gunicorn):
    """gunicorn with its plainest workers."""

    def configure(self) -> None:
        self.changes |= {
            'worker_class = "gthread"': 'worker_class = "sync"',
            "threads = 8": "threads = 1",
        }
        super().configure()


class GunicornBehindNginx(ContribServer):
    """nginx, and gunicorn behind it."""

    def __post_init__(self) -> None:
        self.trusted_proxies = '["127.0.0.1"]'
        super().__post_init__()

    def configure(self) -> None:
        behind = free_port()
        self.inner_ports.add(behind)
        file = self.directory / "gunicorn.conf.py"
        file.write_text(
            from_contrib(
                "gunicorn/behind_nginx.conf.py",
                {
                    "127.0.0.1:8000": f"127.0.0.1:{behind}",
                    'chdir = "/srv/example"': f'chdir = "{self.directory}"',
                    **self.places("/var/log/xhmtp", "/run/xhmtp"),
                },
            )
        )
        self.launch(str(BIN / "gunicorn"), "--config", str(file))
        site = self.write(
            "xhmtp.conf",
            "nginx/xhmtp.conf",
            {
                "listen 80;": f"listen {self.address}:{self.port};",
                "127.0.0.1:8000": f"127.0.0.1:{behind}",
                "www.example.org": self.host,
                **self.places("/var/log/nginx"),
            },
        )
        self.launch(
            need("nginx"), "-c", str(_nginx_frame(self.directory, site)), "-p", str(self.directory)
        )
        until(lambda: answers(f"http://127.0.0.1:{behind}"), "gunicorn answers")


class Apache(ContribServer):
    """Apache, with mod_wsgi in daemon mode."""

    @property
    def error_log(self) -> Path:
        return self.directory / "logs" / "xhmtp-error.log"

    source = "apache/xhmtp-daemon.conf"

    def configure(self) -> None:
        program, modules = need("apache2"), Path("/etc/apache2/mods-available")
        if not (modules / "wsgi.load").exists():
            pytest.skip("Debian's libapache2-mod-wsgi-py3 is not installed (.ci/run installs it)")
        environment = _debian_environment(self.directory)
        user, group = _web_user()
        changes = {
            "<VirtualHost *:80>": f"<VirtualHost *:{self.port}>",
            "www.example.org": self.host,
            "/srv/example/venv": str(environment),
            **self.places("/srv/example", "/var/log/apache2"),
        }
        if "daemon" in self.source:
            changes["user=xhmtp group=xhmtp"] = f"user={user} group={group}"
        site = self.write("site.conf", self.source, changes)
        frame = self.directory / "apache2.conf"
        frame.write_text(
            "\n".join([
                f'ServerRoot "{self.directory}"',
                f'DefaultRuntimeDir "{self.directory}"',
                f'PidFile "{self.directory}/apache2.pid"',
                f"ServerName {self.host}",
                f"Listen {self.address}:{self.port}",
                f'ErrorLog "{self.directory}/logs/apache.log"',
                *(f"Include {modules}/{module}.load" for module in (*APACHE_MODULES, "wsgi")),
                f"Include {modules}/deflate.conf",
                *([f"User {user}", f"Group {group}"] if os.geteuid() == 0 else []),
                "StartServers 1", "MinSpareThreads 1", "MaxSpareThreads 50", "ThreadsPerChild 25",
                f"Include {site}",
            ]) + "\n"
        )  # fmt: skip
        _give(self.directory)
        self.launch(program, "-f", str(frame), "-DFOREGROUND")


class EmbeddedApache(Apache):
    """Apache, with mod_wsgi in its own processes."""

    source = "apache/xhmtp-embedded.conf"


class UWSGI(ContribServer):
    """uWSGI with nothing before it."""

    def configure(self) -> None:
        # Another user may not read the Python that these tests run on.
        user, group = user_here()
        file = self.write(
            "xhmtp.ini",
            "uwsgi/xhmtp.ini",
            {
                "0.0.0.0:8080": f"{self.address}:{self.port}",
                "uid = xhmtp": f"uid = {user}",
                "gid = xhmtp": f"gid = {group}",
                **self.places("/srv/example/venv", "/srv/example", "/var/log/xhmtp", "/run/xhmtp"),
            },
        )
        self.launch(str(BIN / "uwsgi"), "--ini", str(file))


class Waitress(ContribServer):
    """waitress with nothing before it."""

    @property
    def error_log(self) -> Path:
        return self.log  # it prints; systemd would keep that

    def configure(self) -> None:
        file = self.write(
            "serve.py",
            "waitress/serve.py",
            {
                "0.0.0.0:8080": f"{self.address}:{self.port}",
                '"/srv/example"': f'"{self.directory}"',
            },
        )
        self.launch(sys.executable, str(file))


def _with_children(processes: Iterable[int]) -> Iterator[int]:
    for process in processes:
        yield process
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{process}/task").iterdir():
                yield from _with_children(map(int, (task / "children").read_text().split()))


def _open_files(process: int) -> Iterator[str]:
    with suppress(FileNotFoundError, ProcessLookupError):  # it may have ended by now
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):  # or closed that one
                yield descriptor.readlink().name


def user_here() -> tuple[str, str]:
    """The user and the group that these tests run as."""
    return pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name


def _web_user() -> tuple[str, str]:
    """The user and the group that a server which is started as root shall become; else ours."""
    if os.geteuid() != 0:
        return user_here()
    try:
        pwd.getpwnam(WEB_USER)
    except KeyError:
        pytest.skip(f"there is no user {WEB_USER} (Debian's base-passwd makes it)")
    return WEB_USER, WEB_USER


def _give(directory: Path) -> None:
    """Makes an agent's files those of the user that its server becomes."""
    if os.geteuid() != 0:
        return
    for file in (directory, *directory.rglob("*")):
        shutil.chown(file, WEB_USER, WEB_USER)
    reading = ["setpriv", f"--reuid={WEB_USER}", f"--regid={WEB_USER}", "--clear-groups", "cat"]
    seen = ROOT / "xhmtp_wsgi" / "__init__.py"
    if subprocess.run([*reading, str(seen)], capture_output=True, check=False).returncode:
        pytest.skip(f"{WEB_USER}, whom Apache becomes, may not read {ROOT}")


def _debian_environment(directory: Path) -> Path:
    """A virtual environment of Debian's Python, which is mod_wsgi's, with the tests' packages."""
    python = "/usr/bin/python3"
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    told = subprocess.run([need(python), "-V"], capture_output=True, text=True, check=True).stdout
    if not told.startswith(f"Python {ours}."):
        pytest.skip(f"mod_wsgi has Debian's {told.strip()}; these tests' packages are for {ours}")
    made = directory / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(made)], check=True)
    packages = made / "lib" / f"python{ours}" / "site-packages"
    (packages / "tests.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    return made


def _nginx_frame(directory: Path, site: Path) -> Path:
    """What Debian's nginx.conf does, in a directory of our own."""
    user = f"user {_web_user()[0]};" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"    {kind}_temp_path {directory}/nginx-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    frame = directory / "nginx.conf"
    frame.write_text(
        f"{user}\nworker_processes 1;\ndaemon off;\npid {directory}/nginx.pid;\n"
        f"error_log {directory}/logs/nginx.log;\nevents {{}}\n"
        f"http {{\n{temporary}"
        "    gzip on;\n    gzip_proxied any;\n    gzip_types application/rss+xml;\n"
        f"    include {site};\n}}\n"
    )
    return frame


KINDS: dict[str, type[ContribServer]] = {
    "apache-daemon": Apache,
    "apache-embedded": EmbeddedApache,
    "gunicorn-gthread": Gunicorn,
    "gunicorn-sync": SyncGunicorn,
    "nginx": GunicornBehindNginx,
    "uwsgi": UWSGI,
    "waitress": Waitress,
}


@contextmanager
def directory_in_memory() -> Iterator[Path]:
    """A directory that every user can look into; in memory, where there is room for it."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    made = Path(tempfile.mkdtemp(prefix="xhmtp-", dir=memory if roomy else None))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
