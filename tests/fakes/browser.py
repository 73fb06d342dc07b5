"""A browser for the pages, without a network: it keeps cookies, follows what leads on, sends forms.

It says which page a form was sent from, as real ones do, unless it is told to say otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from webob import Response

from tests.world import call

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
SAME_ORIGIN: Mapping[str, str] = {"Sec-Fetch-Site": "same-origin"}
MOST_STEPS = 5
_VOID = {"input", "link", "meta", "br", "hr", "img"}


@dataclass
class Form:
    """A form as it stands in a page: where it leads, its fields, and its buttons."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """What stands in the fields of that name."""
        return [value for given, value in self.fields if given == name]


class Page(HTMLParser):
    """A page: its text, links and forms; and every element with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._link: tuple[str, str] | None = None
        self._area: str | None = None
        self._select: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        if tag == "form":
            self.forms.append(Form(given["action"], given["method"]))
        elif tag == "a" and "href" in given:
            self._link = given["href"], ""
        elif tag == "option" and "selected" in given and self._select is not None:
            self.forms[-1].fields[-1] = (self._select, given.get("value", ""))
        elif self.forms and "name" in given:
            self._field(tag, given)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        form, name = self.forms[-1], given["name"]
        if tag == "button":
            form.buttons.append((name, given.get("value", "")))
        elif tag == "textarea":
            self._area = name
            form.fields.append((name, ""))
        elif tag == "select":
            self._select = name
            form.fields.append((name, ""))
        elif given.get("type") not in ("checkbox", "radio") or "checked" in given:
            form.fields.append((name, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link is not None:
            self.links[" ".join(self._link[1].split())] = self._link[0]
            self._link = None
        elif tag == "textarea":
            self._area = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._link is not None:
            self._link = self._link[0], self._link[1] + data
        if self._area is not None:
            form = self.forms[-1]
            form.fields[-1] = (self._area, form.fields[-1][1] + data.removeprefix("\n"))

    def form(self, action: str, button: tuple[str, str] | None = None) -> Form:
        """The first form that leads to a path with that end, and has that button."""
        found = [one for one in self.forms if one.action.partition("?")[0].endswith(action)]
        having = [one for one in found if button is None or button in one.buttons]
        assert having, f"no form for {action} with {button}, only {[one.buttons for one in found]}"
        return having[0]


@dataclass
class Browser:
    """One browser before one WSGI application."""

    application: Any
    home: str
    """The path of somebody's pages, with a slash at its end."""
    headers: dict[str, str] = field(default_factory=dict)
    environ: dict[str, Any] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    answer: Response = field(default_factory=Response)
    path: str = ""

    @property
    def page(self) -> Page:
        """What is shown."""
        return Page(self.answer.text)

    def get(self, path: str = "") -> Response:
        """Opens one of the home's pages, or any path that begins with a slash."""
        return self._ask(urljoin(self.home, path), "GET", b"", "", {})

    def post(
        self,
        path: str,
        fields: Sequence[tuple[str, str]] | Mapping[str, str],
        headers: Mapping[str, str] = SAME_ORIGIN,
        *,
        content_type: str = "application/x-www-form-urlencoded",
    ) -> Response:
        """Sends a form, as a page of ours would."""
        body = urlencode(fields if isinstance(fields, Mapping) else list(fields)).encode()
        return self._ask(urljoin(self.home, path), "POST", body, content_type, headers)

    def submit(
        self, action: str, button: tuple[str, str] | None = None, /, **typed: Any
    ) -> Response:
        """Sends the form of this page that leads there; ``typed``: a text, or several, by name."""
        form = self.page.form(action, button)
        fields = [one for one in form.fields if one[0] not in typed]
        for name, value in typed.items():
            fields += [(name, one) for one in ([value] if isinstance(value, str) else value)]
        return self.post(form.action, [*fields, *([button] if button else [])])

    def log_in(self, password: str) -> Response:
        """Opens the page to log in by, and does."""
        self.get("login")
        return self.submit("login", password=password)

    def _ask(
        self, path: str, method: str, body: bytes, kind: str, headers: Mapping[str, str]
    ) -> Response:
        for _ in range(MOST_STEPS):
            sent = {"Accept": ACCEPT, **self.headers, **headers}
            if self.cookies:
                pairs = (f"{name}={value}" for name, value in self.cookies.items())
                sent["Cookie"] = "; ".join(pairs)
            self.answer, self.path = (
                call(
                    self.application, path, method=method, body=body, headers=sent,
                    content_type=kind if method == "POST" else None, environ=self.environ,
                ),
                path,
            )  # fmt: skip
            self._keep_cookies()
            if self.answer.status_int != 303:
                return self.answer
            path, method, body, headers = self.answer.headers["Location"], "GET", b"", {}
            assert urlsplit(path).netloc == "", "a redirect stays here"
        raise AssertionError("it leads round and round")

    def _keep_cookies(self) -> None:
        for line in self.answer.headers.getall("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "max-age=0" in line.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
