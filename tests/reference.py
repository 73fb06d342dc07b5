"""The references that are made from the code: docs/settings.md and docs/commands.md.

`python -m tests.reference` writes them anew; tests/test_documents.py compares them with the code.
"""

import configparser
import inspect
import re
from collections.abc import Iterator
from importlib import import_module

import click

from tests.documents import ROOT
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.embedded import embedded_commands
from xhmtp_wsgi.settings import DomainSettings, Settings, table

SHORT = 200  # characters of a help text in a list of commands
_CODE_OR_MARK = re.compile(r"(`[^`\n]*`)|([*_<|])")


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


def commands_reference() -> str:
    """docs/commands.md: every program that setup.cfg installs, and every command below it."""
    lines = [
        "# Commands",
        "",
        "Made from the code; a test compares. Each of them shows the same with `--help`.",
        "",
    ]
    for name, program in programs().items():
        lines += [f"## {name}", "", *_manual(program), *_described(name, program, level=2)]
    lines += ["## In a site's framework", "", *_embedded()]
    return "\n".join(lines)


def programs() -> dict[str, click.Command]:
    """What setup.cfg installs into bin/, by name."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found = {}
    for line in setup["options.entry_points"]["console_scripts"].strip().splitlines():
        name, module, attribute = re.split(r" = |:", line)
        found[name] = getattr(import_module(module), attribute)
    return found


def _manual(program: click.Command) -> Iterator[str]:
    """What the module's docstring says of the program: when it prints, how it exits."""
    assert program.callback is not None
    module = import_module(program.callback.__module__)
    text = inspect.cleandoc(module.__doc__ or "").partition(": ")[2]
    yield from (text[:1].upper() + text[1:], "")


def _described(path: str, command: click.Command, level: int) -> Iterator[str]:
    """Usage, help and options of a command; then the same of each below it."""
    context = click.Context(command, info_name=path)
    usage = " ".join((path, *command.collect_usage_pieces(context)))
    yield from (f"    {usage}", "")
    if command.help:
        yield from _prose(command.help)
    records = [
        record
        for parameter in command.get_params(context)
        if "--help" not in parameter.opts
        and (record := parameter.get_help_record(context))
        and record[1]
    ]
    if records:
        yield from ("| option | what it does |", "| --- | --- |")
        yield from (f"| {_code_in_table(names)} | {_escaped(text)} |" for names, text in records)
        yield ""
    if isinstance(command, click.Group):
        below = [command.commands[name] for name in command.list_commands(context)]
        below = [one for one in below if not one.hidden]
        yield from ("| command | what it does |", "| --- | --- |")
        for one in below:
            place = f"{path} {one.name}".replace(" ", "-")
            yield f"| [{one.name}](#{place}) | {_escaped(one.get_short_help_str(SHORT))} |"
        yield ""
        for one in below:
            yield from ("#" * (level + 1) + f" {path} {one.name}", "")
            yield from _described(f"{path} {one.name}", one, level + 1)


def _prose(text: str) -> Iterator[str]:
    """A help text as Markdown; what click leaves as it is (after \\b) is left as it is here too."""
    for paragraph in inspect.cleandoc(text).partition("\f")[0].strip().split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ("```none", paragraph.removeprefix("\b").strip("\n"), "```", "")
        else:
            yield from (_escaped(paragraph), "")


def _escaped(text: str) -> str:
    """Text in which nothing is Markdown but code in backticks."""
    return _CODE_OR_MARK.sub(lambda found: found[1] or f"\\{found[2]}", " ".join(text.split()))


def _code_in_table(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _embedded() -> Iterator[str]:
    """How the commands within a framework differ from those of the terminal."""
    own = programs()["xhmtp"]
    assert isinstance(own, click.Group)
    embedded = embedded_commands(_no_agent)
    missing = ", ".join(f"`{name}`" for name in own.commands if name not in embedded.commands)
    yield from (
        "`flask xhmtp ...` and `manage.py xhmtp ...` have the commands of `xhmtp`, on the site's",
        "own agent and with the site's users: so there is no `--config`.",
        f"Left out: {missing}. Added:",
        "",
    )
    for name, command in embedded.commands.items():
        if name not in own.commands:
            yield from (f"### flask xhmtp {name}", "")
            yield from _described(f"flask xhmtp {name}", command, level=3)


def _no_agent() -> Agent:
    raise AssertionError("commands are described, not run")


REFERENCES = {"settings.md": settings_reference, "commands.md": commands_reference}


def main() -> None:
    """Writes them into docs/."""
    for name, made in REFERENCES.items():
        (ROOT / "docs" / name).write_text(made())


if __name__ == "__main__":
    main()
