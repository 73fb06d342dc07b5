"""A Flask, a Pyramid and a Django site, each from its framework's own starter, in a ring.

Each has users of its own, made by its own means; each gets what docs/ tells its owner to write,
word for word; alice of each writes to bob of the next, who reads it with his password of that site.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import pytest

from tests import log_search
from tests.documents import ROOT, block
from tests.live.servers import BIN, PREFIX, Nsd, answers, free_port, need, until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("frameworks")]

STARTERS = ROOT / "tests" / "sites"


@dataclass
class Site:
    """A site of some framework, under gunicorn; ``plain``: the same without XHMTP."""

    domain: str
    address: str
    directory: Path
    application: str
    plain_application: str
    notify: list[str]
    resolver: str
    port: int = 0
    plain_port: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port, self.plain_port = free_port(self.address), free_port(self.address)
        self.directory.mkdir()

    @property
    def settings(self) -> dict[str, object]:
        return {
            "database": "sqlite:///xhmtp.db",
            "resolver": [self.resolver],
            "allow_networks": ["127.0.0.0/8"],
            "domain": {self.domain: {}},
        }

    def zone(self) -> list[str]:
        return [
            f"_xhmtp._tcp SRV 0 0 {self.port} server.{self.domain}.",
            f'_prefix._xhmtp TXT "{PREFIX}"',
            f"server A {self.address}",
        ]

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *command: str) -> str:
        """One of the site's own programs; what it printed."""
        done = subprocess.run(
            [sys.executable, *command], cwd=self.directory, env=self._environment(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        log_search.keep(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        for application, port in (
            (self.application, self.port),
            (self.plain_application, self.plain_port),
        ):
            with (self.directory / "gunicorn.log").open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        [str(BIN / "gunicorn"), "--bind", f"{self.address}:{port}",
                         "--threads", "2", "--no-control-socket", application],
                        cwd=self.directory, env=self._environment(), stdout=log, stderr=log,
                    )
                )  # fmt: skip
        for port in (self.port, self.plain_port):
            url = f"http://{self.address}:{port}/"
            until(lambda url=url: answers(url), f"{self.domain} answers")  # type: ignore[misc]

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(timeout=20)
        log = self.directory / "gunicorn.log"
        if log.exists():
            log_search.keep(log.read_text(errors="replace"))

    def curl(self, *arguments: str) -> str:
        done = subprocess.run(
            [need("curl"), "--silent", "--show-error", "--noproxy", "*", *arguments],
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout.decode()

    def url(self, path: str, *, plain: bool = False) -> str:
        return f"http://{self.address}:{self.plain_port if plain else self.port}{path}"

    def page(self, path: str, *, plain: bool) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers but the date, and body."""
        try:
            answer = urllib.request.urlopen(self.url(path, plain=plain), timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        body = answer.read()
        body = re.sub(rb"csrfmiddlewaretoken\W+value=\W+\w+", b"", body)
        kept = [item for item in answer.headers.items() if item[0] not in ("Date", "Set-Cookie")]
        return (
            answer.status,
            kept,
            body.replace(str(self.plain_port).encode(), b"PORT").replace(
                str(self.port).encode(), b"PORT"
            ),
        )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": f"{self.directory}:{ROOT}", **self.environment}


def make_flask(site: Site) -> None:
    """Flask's tutorial, docs/flask.md, and users who have registered on its page."""
    shutil.copytree(STARTERS / "flaskr", site.directory / "flaskr")
    site.write("site_.py", block("docs/flask.md", "python", "# site.py"))
    site.write("plain.py", "from flaskr import create_app\n\napp = create_app()\n")
    configuration = block("docs/flask.md", "python", "# instance/config.py")
    assert "XHMTP = {" in configuration
    site.write("instance/config.py", f"XHMTP = {site.settings!r}\n")
    site.run("-m", "flask", "--app", "flaskr", "init-db")


def make_pyramid(site: Site) -> None:
    """The cookiecutter's site, docs/pyramid.md, and users who have registered."""
    shutil.copytree(STARTERS / "myproject", site.directory / "myproject")
    shutil.copytree(STARTERS / "myproject", site.directory / "plain_project")
    home = site.directory / "plain_project" / "views" / "default.py"
    home.write_text(home.read_text().replace("myproject:", "plain_project:"))
    missing = site.directory / "plain_project" / "views" / "notfound.py"
    missing.write_text(missing.read_text().replace("myproject:", "plain_project:"))
    for name in ("__init__", "security"):
        text = block("docs/pyramid.md", "python", f"# myproject/{name}.py")
        site.write(f"myproject/{name}.py", text)
    lines = block("docs/pyramid.md", "ini", "xhmtp.database").replace("example.org", site.domain)
    more = block("docs/pyramid.md", "ini", "users.file")
    site.write(
        "site.ini",
        f"[app:main]\nuse = call:myproject:main\n{lines}{more}"
        f"xhmtp.resolver = {site.resolver}\nxhmtp.allow_networks = 127.0.0.0/8\n"
        "[app:plain]\nuse = call:plain_project:main\n",
    )
    site.write(
        "site_.py",
        "from pyramid.paster import get_app\n\n"
        "app = get_app('site.ini', 'main')\nplain = get_app('site.ini', 'plain')\n",
    )
    site.write("xhmtp.json", json.dumps(site.settings))
    site.write(
        "xhmtp.toml",
        f'database = "sqlite:///xhmtp.db"\nresolver = ["{site.resolver}"]\n'
        f'allow_networks = ["127.0.0.0/8"]\n[domain."{site.domain}"]\n',
    )


def make_django(site: Site) -> None:
    """django-admin startproject, docs/django.md, and users of django.contrib.auth."""
    site.run("-m", "django", "startproject", "mysite", ".")
    settings = site.directory / "mysite" / "settings.py"
    text = settings.read_text().replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = ["*"]')
    added = block("docs/django.md", "python", "# settings.py\nINSTALLED_APPS")
    mail = block("docs/django.md", "python", "# settings.py: all by XHMTP")
    (site.directory / "mysite" / "plain_settings.py").write_text(
        text.replace("mysite.wsgi.application", "mysite.plain_wsgi.application")
    )
    ours = {**site.settings, "database": "django"}
    more = f'\nXHMTP = {ours!r}\nDEFAULT_FROM_EMAIL = "alice@{site.domain}"\n'
    settings.write_text(text + added + mail + more)
    wsgi = site.directory / "mysite" / "wsgi.py"
    plain = wsgi.read_text().replace("mysite.settings", "mysite.plain_settings")
    site.write("mysite/plain_wsgi.py", plain)
    wsgi.write_text(block("docs/django.md", "python", "# wsgi.py"))
    site.run("manage.py", "migrate", "--verbosity", "0")
    for name in ("alice", "bob"):
        site.run(
            "manage.py", "shell", "-c",
            "from django.contrib.auth.models import User; "
            f"User.objects.create_user('{name}', password='{name} of django')",
        )  # fmt: skip


def register(site: Site) -> None:
    """alice and bob make themselves users, as that site has it."""
    name = site.domain.partition(".")[0]
    for user in ("alice", "bob"):
        fields = {"password": f"{user} of {name}"}
        if name == "flask":
            site.curl("--data", urlencode({**fields, "username": user}), site.url("/auth/register"))
        if name == "pyramid":
            site.curl("--data", urlencode({**fields, "name": user}), site.url("/register"))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    directory = tmp_path_factory.mktemp("frameworks")
    nsd = Nsd(directory)
    resolver = f"127.0.0.1:{nsd.port}"
    found = {
        "flask": Site(
            "flask.example", "127.0.0.11", directory / "flask", "site_:app", "plain:app",
            ["-m", "flask", "--app", "site_:app", "xhmtp", "notify"], resolver,
        ),
        "pyramid": Site(
            "pyramid.example", "127.0.0.12", directory / "pyramid", "site_:app", "site_:plain",
            [str(BIN / "xhmtp-notify"), "--config", "xhmtp.toml"], resolver,
        ),
        "django": Site(
            "django.example", "127.0.0.13", directory / "django", "mysite.wsgi",
            "mysite.plain_wsgi", ["manage.py", "xhmtp_notify"], resolver,
        ),
    }  # fmt: skip
    try:
        nsd.start({"a.example": [], **{site.domain: site.zone() for site in found.values()}})
        for make, site in zip((make_flask, make_pyramid, make_django), found.values(), strict=True):
            make(site)
            site.start()
            register(site)
        yield found
    finally:
        for site in found.values():
            site.stop()
        nsd.stop()


RING = [("flask", "pyramid"), ("pyramid", "django"), ("django", "flask")]


@pytest.mark.parametrize(("one", "other"), RING)
def test_alice_of_one_site_writes_to_bob_of_another(sites: dict[str, Site], one: str, other: str):
    a, b = sites[one], sites[other]
    message = a.directory / "message.eml"
    message.write_bytes(
        f"From: alice@{a.domain}\r\nTo: bob@{b.domain}\r\nSubject: from {one}\r\n"
        "\r\nDear Bob\r\n".encode()
    )
    created = json.loads(
        a.curl(
            "--user", f"alice:alice of {one}", "--header", "Content-Type: message/rfc822",
            "--data-binary", f"@{message}", a.url(f"/{PREFIX}/alice/"),
        )
    )  # fmt: skip
    assert created["recipients"] == [{"address": f"bob@{b.domain}", "state": "queued"}]

    assert a.run(*a.notify) == "", "silent when all is well"

    bob = ["--user", f"bob@{b.domain}:bob of {other}"]
    feed = b.curl("--fail", *bob, b.url(f"/{PREFIX}/bob@{b.domain}"))
    item = next(
        item for item in ElementTree.fromstring(feed).iterfind("./channel/item")
        if item.findtext("title") == f"from {one}"
    )  # fmt: skip
    link = item.findtext("link") or ""
    host = f"server.{a.domain}:{a.port}:{a.address}"
    fetched = a.curl("--fail", "--resolve", host, link)
    assert fetched.endswith("Dear Bob\r\n")
    assert urlsplit(link).hostname == f"server.{a.domain}"

    status = json.loads(
        a.curl("--user", f"alice:alice of {one}", a.url(f"/{PREFIX}/alice/{created['id']}/status"))
    )
    assert status["recipients"][0]["state"] == "fetched"


@pytest.mark.parametrize("name", ["flask", "pyramid", "django"])
def test_a_wrong_password_and_nobodys_are_refused(sites: dict[str, Site], name: str):
    site = sites[name]
    for user in ("alice:bob of", "alice:", "nobody:alice of", "alice@elsewhere.example:alice of"):
        status = site.curl(
            "--user", f"{user} {name}", "--output", os.devnull, "--write-out", "%{http_code}",
            site.url(f"/{PREFIX}/alice/"),
        )  # fmt: skip
        assert status == "401", user


@pytest.mark.parametrize("name", ["flask", "pyramid", "django"])
def test_the_sites_own_pages_are_the_same_with_xhmtp_and_without(sites: dict[str, Site], name: str):
    site = sites[name]
    paths = {
        "flask": ["/", "/hello", "/auth/login", "/static/style.css", "/no/such", "/xhmtpx/"],
        "pyramid": ["/", "/static/theme.css", "/no/such", "/xhmtpx/"],
        "django": ["/", "/admin/login/", "/no/such", "/xhmtpx/"],
    }[name]
    for path in paths:
        with_it, without = site.page(path, plain=False), site.page(path, plain=True)
        assert with_it[:2] == without[:2], path
        if (name, without[0]) != ("django", 404):
            # Django's page for errors, in debug mode, prints the settings' module by name.
            assert with_it[2] == without[2], path


@pytest.mark.parametrize("name", ["flask", "pyramid", "django"])
@pytest.mark.parametrize(
    "path", ["/", "/x", "/x/y/z", "/%ff", "/alice/short", "/../xhmtp/x", "//", "/x@", "/admin/"]
)
def test_below_our_prefix_our_answer_stands(sites: dict[str, Site], name: str, path: str):
    site = sites[name]
    told = site.curl(
        "--path-as-is", "--output", os.devnull, "--write-out", "%{http_code} %{content_type}",
        site.url(f"/{PREFIX}{path}"),
    )  # fmt: skip
    assert told.split()[0] in ("400", "404", "401"), told
    assert told.split()[1] == "application/problem+json", told


def test_djangos_send_mail_reaches_bobs_feed(sites: dict[str, Site]):
    django, flask = sites["django"], sites["flask"]
    django.run(
        "manage.py", "shell", "-c",
        "from django.core.mail import send_mail; "
        "assert send_mail('by send_mail', 'Dear Bob', None, ['bob@flask.example']) == 1",
    )  # fmt: skip
    django.run(*django.notify)
    feed = flask.curl("--user", "bob:bob of flask", flask.url(f"/{PREFIX}/bob@flask.example"))
    assert "by send_mail" in feed


def test_the_commands_are_those_of_the_sites_own_agent(sites: dict[str, Site]):
    listed = sites["django"].run("manage.py", "xhmtp", "status", "--json")
    assert "queue_entries" in json.loads(listed)
    listed = sites["flask"].run("-m", "flask", "--app", "site_:app", "xhmtp", "user", "list")
    assert "alice@flask.example" in listed.split()
    assert "no issues" in sites["django"].run("manage.py", "check")
