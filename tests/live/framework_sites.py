"""A Flask, a Pyramid and a Django site, each from its framework's own starter, with their users.

Each gets what docs/ tells its owner to write, word for word, and listeners of which one is broken.
"""

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from tests import log_search
from tests.documents import ROOT, block
from tests.live.delivery import name_server
from tests.live.servers import BIN, PREFIX, answers, free_port, need, until

STARTERS = ROOT / "tests" / "sites"


@dataclass
class Site:
    """A site of some framework, under gunicorn, with XHMTP and, as it comes, without."""

    domain: str
    address: str
    directory: Path
    application: str
    plain_application: str
    notify: list[str]
    resolver: str
    port: int = 0
    plain_port: int = 0
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port, self.plain_port = free_port(self.address), free_port(self.address)
        self.plain.mkdir(parents=True)
        self.ours.mkdir()

    @property
    def ours(self) -> Path:
        """Where the site with XHMTP is."""
        return self.directory / "ours"

    @property
    def plain(self) -> Path:
        """Where the same is as its starter makes it."""
        return self.directory / "plain"

    @property
    def name(self) -> str:
        """The framework's."""
        return self.domain.partition(".")[0]

    @property
    def settings(self) -> dict[str, object]:
        return {
            "database": "sqlite:///xhmtp.db",
            "resolver": [self.resolver],
            "allow_networks": ["127.0.0.0/8"],
            "domain": {self.domain: {}},
        }

    def zone(self) -> str:
        """What its domain publishes, whole lines."""
        return (
            f"_xhmtp._tcp.{self.domain}. 60 SRV 0 0 {self.port} server.{self.domain}.\n"
            f'_prefix._xhmtp.{self.domain}. 60 TXT "{PREFIX}"\n'
            f"server.{self.domain}. 60 A {self.address}\n"
        )

    def write(self, name: str, text: str) -> None:
        path = self.ours / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *command: str, directory: Path | None = None) -> str:
        """One of the site's own programs; what it printed."""
        place = directory or self.ours
        done = subprocess.run(
            [sys.executable, *command], cwd=place, env=_environment(place),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        log_search.keep(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        for place, application, port in (
            (self.ours, self.application, self.port),
            (self.plain, self.plain_application, self.plain_port),
        ):
            with self.log.open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        [str(BIN / "gunicorn"), "--bind", f"{self.address}:{port}",
                         "--threads", "2", "--no-control-socket", application],
                        cwd=place, env=_environment(place), stdout=log, stderr=log,
                    )
                )  # fmt: skip
        for port in (self.port, self.plain_port):
            url = f"http://{self.address}:{port}/"
            until(lambda url=url: answers(url), f"{self.domain} answers")  # type: ignore[misc]

    @property
    def log(self) -> Path:
        return self.directory / "gunicorn.log"

    def curl(self, *arguments: str) -> str:
        done = subprocess.run(
            [need("curl"), "--silent", "--show-error", "--noproxy", "*", *arguments],
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout.decode()

    def status(self, *arguments: str) -> str:
        """The status of an answer."""
        return self.curl("--output", os.devnull, "--write-out", "%{http_code}", *arguments)

    def url(self, path: str, *, plain: bool = False) -> str:
        return f"http://{self.address}:{self.plain_port if plain else self.port}{path}"

    def page(self, path: str, *, plain: bool) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body, without what differs from one moment or port to the next."""
        try:
            answer = urllib.request.urlopen(self.url(path, plain=plain), timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        body: bytes = answer.read()
        body = re.sub(rb'(csrfmiddlewaretoken" value=")\w+', rb"\1", body)
        body = re.sub(rb"%d|%d" % (self.port, self.plain_port), b"PORT", body)
        body = body.replace(str(self.plain).encode(), str(self.ours).encode())
        kept = []
        for name, value in answer.headers.items():
            if name == "Set-Cookie":
                kept.append((name, value.partition("=")[0]))
            elif name == "ETag":
                # Flask's ends with a hash of the file's path.
                kept.append((name, value.rpartition("-")[0]))
            elif name not in ("Date", "Expires"):
                kept.append((name, value))
        return answer.status, kept, body


def _environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{directory}:{ROOT}"}


# What a site writes that wants to hear of arrivals: one of its listeners is broken.
LISTENERS = """
def broken(*_, **__):
    raise RuntimeError("the site's own fault")


def note(*senders, arrival=None, **_):
    arrival = arrival or senders[0].arrival
    with open("arrivals", "a") as file:
        print(arrival.recipient, arrival.sender, arrival.subject, file=file)
"""
SIGNALS = """
from xhmtp_wsgi.{framework} import notification_arrived
from listeners import broken, note

notification_arrived.connect(broken)
notification_arrived.connect(note)
"""


def make_flask(site: Site) -> None:
    """Flask's tutorial, and docs/flask.md."""
    for place in (site.ours, site.plain):
        shutil.copytree(STARTERS / "flaskr", place / "flaskr")
        site.run("-m", "flask", "--app", "flaskr", "init-db", directory=place)
    added = block("docs/flask.md", "python", "# wsgi.py")
    site.write("site_.py", added + SIGNALS.format(framework="flask"))
    configuration = block("docs/flask.md", "python", "# instance/config.py")
    assert "XHMTP = {" in configuration
    site.write("instance/config.py", f"XHMTP = {site.settings!r}\n")


def make_pyramid(site: Site) -> None:
    """The cookiecutter's site, and docs/pyramid.md."""
    for place in (site.ours, site.plain):
        shutil.copytree(STARTERS / "myproject", place / "myproject")
        (place / "site_.py").write_text(
            "from pyramid.paster import get_app\n\napp = get_app('site.ini', 'main')\n"
        )
    plain = "[app:main]\nuse = call:myproject:main\n"
    (site.plain / "site.ini").write_text(plain)
    for name in ("__init__", "security"):
        text = block("docs/pyramid.md", "python", f"# myproject/{name}.py")
        site.write(f"myproject/{name}.py", text)
    site.write(
        "myproject/heard.py",
        "from pyramid.events import subscriber\nfrom xhmtp_wsgi.pyramid import MessageArrived\n"
        "from listeners import broken, note\n"
        "subscriber(MessageArrived)(broken)\nsubscriber(MessageArrived)(note)\n",
    )
    lines = block("docs/pyramid.md", "ini", "xhmtp.database").replace("example.org", site.domain)
    more = block("docs/pyramid.md", "ini", "users.file")
    network = f"xhmtp.resolver = {site.resolver}\nxhmtp.allow_networks = 127.0.0.0/8\n"
    site.write("site.ini", plain + lines + more + network)
    site.write(
        "xhmtp.toml",
        f'database = "sqlite:///xhmtp.db"\nresolver = ["{site.resolver}"]\n'
        f'allow_networks = ["127.0.0.0/8"]\n[domain."{site.domain}"]\n',
    )


DJANGO_USERS = """
from django.core.management import call_command
from django.contrib.auth.models import User

call_command("migrate", verbosity=0)
for name in ("alice", "bob"):
    User.objects.create_user(name, password=f"{name} of django", is_staff=True)
"""


def make_django(site: Site) -> None:
    """django-admin startproject, and docs/django.md; users of django.contrib.auth."""
    site.run("-m", "django", "startproject", "mysite", ".", directory=site.plain)
    settings = site.plain / "mysite" / "settings.py"
    text = settings.read_text().replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = ["*"]')
    settings.write_text(text)
    site.run("manage.py", "shell", "-c", DJANGO_USERS, directory=site.plain)
    shutil.copytree(site.plain, site.ours, dirs_exist_ok=True)
    added = block("docs/django.md", "python", "# settings.py\nINSTALLED_APPS")
    mail = block("docs/django.md", "python", "# settings.py: all by XHMTP")
    ours = {**site.settings, "database": "django"}
    alice = f"alice@{site.domain}"
    more = f'\nXHMTP = {ours!r}\nDEFAULT_FROM_EMAIL = SERVER_EMAIL = "{alice}"\n'
    site.write("mysite/settings.py", text + added + mail + more)
    added = block("docs/django.md", "python", "# wsgi.py")
    site.write("mysite/wsgi.py", added + SIGNALS.format(framework="django"))


MAKERS = {"flask": make_flask, "pyramid": make_pyramid, "django": make_django}


def register(site: Site) -> None:
    """alice and bob make themselves users, on the site's own page."""
    page, name = {"flask": ("/auth/register", "username"), "pyramid": ("/register", "name")}[
        site.name
    ]
    for user in ("alice", "bob"):
        fields = {"password": f"{user} of {site.name}", name: user}
        assert site.status("--data", urlencode(fields), site.url(page)) == "302"


def made(site: Site) -> None:
    """Makes a site, starts it, and gives it its users."""
    site.write("listeners.py", LISTENERS)
    MAKERS[site.name](site)
    site.start()
    if site.name != "django":
        register(site)


@contextmanager
def three_sites(directory: Path) -> Iterator[dict[str, Site]]:
    """All three, by framework, running side by side and as their starters make them."""
    with name_server() as dns, ThreadPoolExecutor() as pool:
        resolver = f"127.0.0.1:{dns.port}"
        found = {
            "flask": Site(
                "flask.example", "127.0.0.11", directory / "flask", "site_:app",
                "flaskr:create_app()",
                ["-m", "flask", "--app", "site_:app", "xhmtp", "notify"], resolver,
            ),
            "pyramid": Site(
                "pyramid.example", "127.0.0.12", directory / "pyramid", "site_:app", "site_:app",
                [str(BIN / "xhmtp-notify"), "--config", "xhmtp.toml"], resolver,
            ),
            "django": Site(
                "django.example", "127.0.0.13", directory / "django", "mysite.wsgi",
                "mysite.wsgi", ["manage.py", "xhmtp_notify"], resolver,
            ),
        }  # fmt: skip
        dns.set_zone("".join(site.zone() for site in found.values()))
        try:
            list(pool.map(made, found.values()))
            yield found
        finally:
            processes = [process for site in found.values() for process in site.processes]
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=20)
            for site in found.values():
                if site.log.exists():
                    log_search.keep(site.log.read_text(errors="replace"))
