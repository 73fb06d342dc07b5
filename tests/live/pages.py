"""What tests of pages in Chromium share: a browser, sites, logging in, axe, and screenshots.

The browser finds each site by its own name, which is mapped to loopback: so it is treated as any
site over plain HTTP is, and sends no Sec-Fetch-Site.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.live.servers import PREFIX, AgentServer
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.routes import page_path
from xhmtp_wsgi.web.login import COOKIE, sessions_of

OPTIONS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-extensions",
    "--disable-gpu",
)
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
SCHEMES, WIDTHS = ("light", "dark"), {"wide": WIDE, "phone": PHONE}
EVERY = tuple((scheme, width) for scheme in SCHEMES for width in WIDTHS)
BRIEFLY = (("light", "wide"), ("dark", "phone"))
"""Each scheme and each width once: an axe run takes a third of a second of the processor."""
ONCE = (("dark", "phone"),)
STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_VIOLATIONS = """async (standards) => {
  // Off by default, as it is in WCAG 2.2 alone.
  const rules = {"target-size": {enabled: true}};
  const found = await axe.run(document, {
    runOnly: standards, rules, resultTypes: ["violations"], preload: false, iframes: false,
  });
  return found.violations.flatMap(one => one.nodes.map(node =>
    `${one.id}: ${node.html.slice(0, 200)} ${node.failureSummary.replace(/\\s+/g, " ")}`));
}"""


@contextmanager
def chromium(hosts: Mapping[str, str]) -> Iterator[Any]:
    """Debian's Chromium under Playwright; ``hosts``: addresses by name, all others are not found.

    One for all tests of a module: each takes a context of its own.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's chromium is not installed (.ci/run installs it)")
    playwright = pytest.importorskip("playwright.sync_api")
    rules = [f"MAP {name} {address}" for name, address in hosts.items()]
    rules += ["MAP * ~NOTFOUND", "EXCLUDE 127.0.0.*"]
    arguments = [*OPTIONS, f"--host-resolver-rules={', '.join(rules)}"]
    with playwright.sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=program, args=arguments)
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start here: {str(error).splitlines()[0]}")
        try:
            yield opened
        finally:
            opened.close()


def hosts_of(*servers: AgentServer) -> dict[str, str]:
    """The names of these servers, for ``chromium``."""
    return {server.host: server.address for server in servers}


def url(server: AgentServer, address: str, *path: str, query: str = "") -> str:
    """The URL of one of somebody's pages, by the server's name."""
    below = page_path(PREFIX, Endpoint.parse(address), *path)
    return f"http://{server.host}:{server.port}{below}{query}"


def log_in(page: Any, server: AgentServer, address: str, password: str) -> None:
    """Logs in as people do; the inbox is shown then."""
    page.goto(url(server, address, "login"))
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/inbox*")


def cookie_of(server: AgentServer, agent: Agent, address: str) -> dict[str, Any]:
    """A session's cookie for a browser's context, where logging in is not what is tested."""
    account = agent.accounts.find(Endpoint.parse(address))
    assert account is not None
    return {
        "name": COOKIE,
        "value": sessions_of(agent).begin(account),
        "domain": server.host,
        "path": f"/{PREFIX}/",
        "httpOnly": True,
        "sameSite": "Lax",
    }


def axe_violations(page: Any, standards: Sequence[str] = STANDARDS) -> list[str]:
    """What axe-core finds wrong on a page, a line for each place."""
    # Not by a script element: our policy allows none but our own.
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    return list(page.evaluate(_VIOLATIONS, list(standards)))


def sideways(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def look_at(
    page: Any,
    name: str,
    directory: Path | None = None,
    looks: Sequence[tuple[str, str]] = BRIEFLY,
) -> list[str]:
    """What is wrong with a page, by axe and by its width, in each of these looks.

    With XHMTP_SCREENSHOTS set to a directory it is in EVERY look, and a screenshot of each is left
    there for people to look at; ``directory`` is another such place.
    """
    named = os.environ.get("XHMTP_SCREENSHOTS")
    directory = Path(named) if named else directory
    wrong = []
    for scheme, width in EVERY if named else looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(WIDTHS[width])
        where = f"{name}-{scheme}-{width}"
        wrong += [f"{where}: {found}" for found in axe_violations(page)]
        if sideways(page) > 0:
            wrong.append(f"{where}: {sideways(page)} pixels too wide")
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=directory / f"{where}.png", full_page=True)
    return wrong
