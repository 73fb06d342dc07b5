"""xhmtp import: takes in what `xhmtp export` has written, here or on another host."""

from collections.abc import Iterator
from pathlib import Path

import click

from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.transfer.importing import Imported, ImportReport, import_export


@click.command("import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.pass_context
def import_command(context: click.Context, directory: Path, dry_run: bool) -> None:
    """Take in the export in DIRECTORY: all of it, or nothing where something is wrong with it.

    What is here already stays, and the same again changes nothing. The next pass of xhmtp-notify
    tells those who were still to be told.
    """
    report = import_export(open_agent(context.obj), directory, dry_run=dry_run)
    for line in _in_words(report):
        click.echo(line)
    if dry_run:
        click.echo("nothing was changed: this was a dry run")


def _in_words(report: ImportReport) -> Iterator[str]:
    for one in report.imported:
        yield from _of(one)
    for selector in report.new_keys:
        yield f"the signing key {selector} is known: copy its secret into key_directory"
    if report.elsewhere is not None:
        yield (
            f"links that were given out lead to {report.elsewhere}, and this agent is elsewhere: "
            "they do not work until it is reached there"
        )


def _of(one: Imported) -> Iterator[str]:
    sent, notices = one.sent, one.notices
    yield (
        f"{one.owner}: {one.account}; messages sent: {sent.added:,} added, {sent.known:,} were "
        f"here already; notifications: {notices.added:,} added, {notices.known:,} were here already"
    )
    if one.drafts:
        yield f"  drafts added: {one.drafts:,}"
    if sent.changed:
        yield f"  what happened there since, and now here too: {sent.changed:,}"
    if sent.waiting:
        yield f"  recipients whom this host is to tell: {sent.waiting:,}"
