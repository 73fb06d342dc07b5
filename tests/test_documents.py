"""The documents say what the code does, and lead where they say."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.documents import ROOT, blocks, fenced
from tests.reference import REFERENCES
from xhmtp_wsgi import XHMTP
from xhmtp_wsgi.protocol.endpoint import Endpoint

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"(?s:^ *```.*?^ *```$)|^    .*$", re.MULTILINE)


@pytest.mark.parametrize(("name", "made"), REFERENCES.items(), ids=REFERENCES)
def test_the_references_are_as_the_code_makes_them(name: str, made: Callable[[], str]):
    assert (DOCS / name).read_text() == made(), "python -m tests.reference writes it anew"


def test_every_dependency_is_explained():
    text = (ROOT / "docs" / "dependencies.md").read_text()
    setup = (ROOT / "setup.cfg").read_text().split("install_requires =")[1].split("[")[0]
    for line in filter(None, map(str.strip, setup.splitlines())):
        name, _, bound = line.partition(">=")
        assert f"| {name} | {bound} |" in text, name


def test_every_module_says_what_it_is_for():
    for file in (ROOT / "xhmtp_wsgi").rglob("*.py"):
        assert file.read_text().startswith('"""'), file


def test_every_test_that_the_documents_name_is_there():
    for document in ("security.md", "delivery.md"):
        text = (ROOT / "docs" / document).read_text()
        named = re.findall(r"(tests/[a-z_/]+\.py)(?:::(\w+))?", text)
        assert named
        for file, test in named:
            assert f"def {test}" in (ROOT / file).read_text(), (file, test)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as Sphinx makes them."""
    pages = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html",
         "-d", str(pages / ".doctrees"), str(DOCS), str(pages)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return pages


@pytest.mark.xdist_group("documents")
def test_sphinx_builds_every_page_without_a_warning(built: Path):
    for page in PAGES:
        assert (built / page.relative_to(DOCS)).with_suffix(".html").exists(), page


@pytest.mark.xdist_group("documents")
def test_a_reader_of_the_pages_loads_nothing_from_elsewhere(built: Path):
    pages = list(built.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        parser = _Loads()
        parser.feed(page.read_text())
        assert [place for place in parser.places if _is_elsewhere(place)] == [], page
        assert parser.places
    for style in built.rglob("*.css"):
        for place in re.findall(r"(?:@import\s+|url\()[\"']?([^\"')\s]+)", style.read_text()):
            assert not _is_elsewhere(place), (style, place)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_link_leads_to_a_page_and_a_heading_that_are_there(page: Path):
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        if ":" in link:
            continue
        file, _, heading = unquote(link).partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if heading:
            assert heading in list(_anchors(target)), link


def test_the_first_page_leads_to_every_other():
    links = {DOCS / link for link in _LINK.findall((DOCS / "index.md").read_text())}
    assert links >= set(PAGES) - {DOCS / "index.md"}


def test_few_commands_are_not_run():
    shown = [one for name in ("README.md", "docs/tutorial.md") for one in fenced(name)]
    left = [one.not_run for one in shown if one.not_run]
    assert len(left) <= 2, left


def test_what_plain_wsgi_shows_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = '[domain."example.org"]\nagent = "http://www.example.org"\nprefix = "xhmtp"\n'
    (tmp_path / "xhmtp.toml").write_text(settings)
    (tmp_path / "mysite.py").write_text("def application(environ, start_response): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XHMTP_DATABASE", f"sqlite:///{tmp_path}/xhmtp.db")
    names: dict[str, Any] = {}
    made = []
    for text in blocks("docs/plain-wsgi.md", "python"):
        exec(text, names)
        assert isinstance(names["application"], XHMTP)
        made.append(names["application"])
        if len(made) == 1:
            made[0].agent.accounts.add(Endpoint.parse("you@example.org"), "a password")
    assert re.fullmatch(r"[a-z2-7]{26}", names["identifier"])
    users = names["Users"]()
    assert users.check_password("alice@example.org", "wonderland")
    assert not users.check_password("alice@example.org", "")
    assert not users.check_password("nobody@example.org", "")


class _Loads(HTMLParser):
    """What a browser loads for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("next", "prev", "index", "search", "canonical"):
            return
        if tag != "a":
            self.places += [
                given[name] or "" for name in ("src", "srcset", "href") if name in given
            ]


def _is_elsewhere(place: str) -> bool:
    return place.startswith(("http:", "https:", "//"))


def _anchors(page: Path) -> Iterator[str]:
    """The headings of a page as GitHub names them."""
    for heading in _HEADING.findall(_CODE.sub("", page.read_text())):
        kept = re.sub(r"[^\w\- ]", "", heading.lower().strip())
        yield kept.replace(" ", "-")
