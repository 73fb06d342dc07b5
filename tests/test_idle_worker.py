"""What a process of a site's holds while nobody asks it for anything of ours: as little as it can.

Modules are counted, and no memory is measured: benchmarks/memory.py does that.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xhmtp_wsgi.middleware import BOTH
from xhmtp_wsgi.wing import LateView

WANTED_BY_VIEWS = {
    "PyRSS2Gen", "alembic", "argon2", "cryptography", "jsonschema", "nh3", "prometheus_client",
    "sqlalchemy.dialects.postgresql", "xhmtp_wsgi.recipient.feed", "xhmtp_wsgi.recipient.receiver",
    "xhmtp_wsgi.rest.answering", "xhmtp_wsgi.sender.fetch", "xhmtp_wsgi.sender.injection",
    "xhmtp_wsgi.web.pages",
}  # fmt: skip
PLAIN = """
from xhmtp_wsgi import XHMTP
def site(environ, start_response):
    start_response("200 OK", [])
    return [b""]
application = XHMTP(site, settings)
"""
FLASK = """
from flask import Flask
from xhmtp_wsgi.flask import XHMTP
application = Flask("site", instance_path=directory)
application.config["XHMTP"] = settings
application.get("/")(lambda: "")
XHMTP(application)
"""


def modules_after(directory: Path, program: str) -> set[str]:
    """What a new Python has loaded once it has run the program, with settings of a new site."""
    settings = {
        "database": f"sqlite:///{directory}/xhmtp.db",
        "domain": {"a.example": {"agent": "http://a.example", "prefix": "xhmtp"}},
    }
    ran = subprocess.run(
        [sys.executable, "-c",
         "import json, sys\n"
         f"settings, directory = {settings!r}, {str(directory)!r}\n{program}\n"
         "print(json.dumps(list(sys.modules)))"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return set(json.loads(ran.stdout.splitlines()[-1]))


def asking(*paths: str) -> str:
    """The lines that ask an application, and print the status of each answer."""
    return (
        "from webob import Request\n"
        f"for path in {paths!r}:\n"
        "    print(path, Request.blank(path).get_response(application).status)\n"
    )


@pytest.mark.parametrize("program", [PLAIN, FLASK], ids=["plain", "flask"])
def test_a_worker_that_nobody_asks_holds_no_view_and_none_of_what_views_need(
    tmp_path: Path, program: str
):
    found = modules_after(tmp_path, program + asking("/"))
    assert "xhmtp_wsgi.middleware" in found
    assert found & {*WANTED_BY_VIEWS, "xhmtp_wsgi.commands.xhmtp"} == set()


def test_a_feed_reader_makes_a_worker_hold_neither_the_pages_nor_what_sends(tmp_path: Path):
    found = modules_after(tmp_path, PLAIN + asking("/xhmtp/bob@a.example"))
    assert "xhmtp_wsgi.recipient.feed" in found
    unwanted = {"xhmtp_wsgi.web.pages", "xhmtp_wsgi.sender.injection", "jsonschema", "nh3"}
    assert found & unwanted == set()


def test_nothing_that_works_on_an_sqlite_holds_what_sqlalchemy_knows_of_postgresql(tmp_path: Path):
    views = sorted({view.name.partition(":")[0] for view in named_views()})
    imported = "".join(f"import {name}\n" for name in [*views, "xhmtp_wsgi.commands.notify"])
    found = modules_after(tmp_path, PLAIN + imported)
    assert "sqlalchemy.dialects.sqlite" in found
    assert "sqlalchemy.dialects.postgresql" not in found


def named_views() -> list[LateView]:
    return [
        view for views in BOTH.values() for view in views.values() if isinstance(view, LateView)
    ]


def test_each_view_that_is_named_is_there():
    assert named_views()
    for late in named_views():
        assert callable(late.view), late.name
