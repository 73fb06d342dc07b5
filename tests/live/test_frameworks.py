"""A Flask, a Pyramid and a Django site, each from its framework's own starter, in a ring.

Each has users of its own, made by its own means; alice of each writes to bob of the next, who reads
it with his password of that site.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import pytest

from tests.live.framework_sites import Site, three_sites
from tests.live.servers import PREFIX

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("frameworks")]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    with three_sites(tmp_path_factory.mktemp("frameworks")) as found:
        yield found


def injected(site: Site, recipient: str, subject: str, *arguments: str) -> str:
    """alice hands in a message with curl: the answer, and its status in a last line."""
    message = site.directory / "message.eml"
    message.write_bytes(
        f"From: alice@{site.domain}\r\nTo: {recipient}\r\nSubject: {subject}\r\n"
        "\r\nDear Bob\r\n".encode()
    )
    return site.curl(
        "--header", "Content-Type: message/rfc822", "--data-binary", f"@{message}",
        "--write-out", "\n%{http_code}", *arguments, site.url(f"/{PREFIX}/alice/"),
    )  # fmt: skip


def log_in(site: Site, user: str) -> Path:
    """The cookies of whom the site's own page has logged in, as curl keeps them."""
    jar = site.directory / f"{user}.cookies"
    cookies = ["--cookie", str(jar), "--cookie-jar", str(jar)]
    page, name = {
        "flask": ("/auth/login", "username"),
        "pyramid": ("/login", "name"),
        "django": ("/admin/login/", "username"),
    }[site.name]
    fields = {name: user, "password": f"{user} of {site.name}"}
    if site.name == "django":
        form = site.curl(*cookies, site.url(page))
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)', form)
        assert token is not None, form
        fields["csrfmiddlewaretoken"] = token[1]
    assert site.status(*cookies, "--data", urlencode(fields), site.url(page)) == "302"
    return jar


FRAMEWORKS = pytest.mark.parametrize("name", ["flask", "pyramid", "django"])
RING = [("flask", "pyramid"), ("pyramid", "django"), ("django", "flask")]


@pytest.mark.parametrize(("one", "other"), RING)
def test_alice_of_one_site_writes_to_bob_of_another(sites: dict[str, Site], one: str, other: str):
    a, b = sites[one], sites[other]
    alice = f"alice@{a.domain}:alice of {one}"
    answer, _, status = injected(
        a, f"bob@{b.domain}", f"from {one}", "--user", f"alice:alice of {one}"
    ).rpartition("\n")
    assert status == "201"
    created = json.loads(answer)
    told = {"address": f"bob@{b.domain}", "state": "queued", "sealed": None}
    assert created["recipients"] == [told]

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

    own = a.url(f"/{PREFIX}/alice/{created['id']}")
    assert a.curl("--fail", "--user", alice, own) == fetched, "alice sees what bob does"
    told = json.loads(a.curl("--user", alice, f"{own}/status"))
    assert told["recipients"][0]["state"] == "fetched"


@FRAMEWORKS
def test_a_site_hears_of_what_arrives_and_a_listener_that_fails_harms_nothing(
    sites: dict[str, Site], name: str
):
    site = sites[name]
    subject = f"heard by {name}"
    injected(site, f"bob@{site.domain}", subject, "--user", f"alice:alice of {name}")
    site.run(*site.notify)
    arrivals = (site.ours / "arrivals").read_text().splitlines()
    assert arrivals.count(f"bob@{site.domain} alice@{site.domain} {subject}") == 1
    assert "the site's own fault" in site.log.read_text()
    bob = ["--user", f"bob:bob of {name}"]
    assert subject in site.curl("--fail", *bob, site.url(f"/{PREFIX}/bob@{site.domain}"))


@FRAMEWORKS
def test_a_wrong_password_and_nobodys_are_refused(sites: dict[str, Site], name: str):
    site = sites[name]
    for user in ("alice:bob of", "nobody:alice of", "alice@elsewhere.example:alice of"):
        status = site.status("--user", f"{user} {name}", site.url(f"/{PREFIX}/alice/"))
        assert status == "401", user


@FRAMEWORKS
def test_whom_the_site_has_logged_in_writes_and_reads(sites: dict[str, Site], name: str):
    site = sites[name]
    alice, bob = log_in(site, "alice"), log_in(site, "bob")
    sent = injected(site, f"bob@{site.domain}", "by cookie", "--cookie", str(alice))
    assert sent.endswith("\n201"), sent
    own = site.url(f"/{PREFIX}/alice/{json.loads(sent.rpartition(chr(10))[0])['id']}")
    assert site.curl("--fail", "--cookie", str(alice), own).endswith("Dear Bob\r\n")
    assert site.status("--cookie", str(bob), own) == "401"
    feed = site.url(f"/{PREFIX}/bob@{site.domain}")
    assert "<rss" in site.curl("--fail", "--cookie", str(bob), feed)
    assert site.status("--cookie", str(alice), feed) == "401"
    assert injected(site, "x@x.example", "not hers", "--cookie", str(bob)).endswith("\n403")
    assert site.status(feed) == "401"

    for asked_by, status in (("cross-site", "403"), ("same-site", "403"), ("same-origin", "201")):
        browser = ["--header", f"Sec-Fetch-Site: {asked_by}", "--cookie", str(alice)]
        told = injected(site, f"bob@{site.domain}", asked_by, *browser)
        assert told.endswith(f"\n{status}"), (asked_by, told)


@FRAMEWORKS
def test_the_sites_own_pages_are_the_same_with_xhmtp_and_without(sites: dict[str, Site], name: str):
    site = sites[name]
    paths = {
        "flask": ["/", "/hello", "/auth/login", "/static/style.css", "/no/such", "/xhmtpx/"],
        "pyramid": ["/", "/static/theme.css", "/no/such", "/xhmtpx/"],
        "django": ["/", "/admin/login/", "/admin", "/no/such", "/xhmtpx/"],
    }[name]
    for path in paths:
        with_it, without = site.page(path, plain=False), site.page(path, plain=True)
        assert with_it[0] in (200, 404)
        assert with_it[:2] == without[:2], path
        assert with_it[2] == without[2], path


ODD_PATHS = ["/", "/x", "/x/y/z", "/%ff", "/alice/short", "/../xhmtp/x", "//", "/x@", "/admin/"]


@FRAMEWORKS
def test_below_our_prefix_our_answer_stands(sites: dict[str, Site], name: str):
    site = sites[name]
    for path in ODD_PATHS:
        told = site.curl(
            "--path-as-is", "--output", "/dev/null", "--write-out", "%{http_code} %{content_type}",
            site.url(f"/{PREFIX}{path}"),
        )  # fmt: skip
        assert told.split()[0] in ("400", "404", "401"), (path, told)
        assert told.split()[1] == "application/problem+json", (path, told)


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


def test_our_tables_are_in_djangos_own_database(sites: dict[str, Site]):
    with closing(sqlite3.connect(sites["django"].ours / "db.sqlite3")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert {"auth_user", "account", "message"} <= tables
    assert not (sites["django"].ours / "xhmtp.db").exists()
