"""The documents say what the code does."""

import re
from pathlib import Path

from xhmtp_wsgi.settings import DomainSettings, Settings, table

ROOT = Path(__file__).parents[1]


def settings_reference() -> str:
    """docs/settings.md as the table of settings makes it."""
    lines = [
        "# Settings",
        "",
        "In `xhmtp.toml`, or a mapping of the same shape; `XHMTP_NAME` in the environment",
        "overrides the setting `name`. Made from the code; a test compares.",
        "",
    ]
    for title, kind in (
        ("For the agent", Settings),
        ('For a domain: `[domain."a.example"]`', DomainSettings),
    ):
        lines += [f"## {title}", "", "| setting | default | what it is |", "| --- | --- | --- |"]
        for row in table(kind):
            default = "" if row.default in (None, "", ()) else f"`{row.default}`"
            lines.append(f"| `{row.name}` | {default} | {row.metadata['help']} |")
        lines.append("")
    return "\n".join(lines)


def test_every_setting_is_in_the_reference_as_the_code_has_it():
    assert (ROOT / "docs" / "settings.md").read_text() == settings_reference()


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
