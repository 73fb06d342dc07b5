"""xhmtp export: what is kept of an address or a domain, as files that other programs read."""

from collections.abc import Iterator
from pathlib import Path

import click

from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.transfer.exporting import Exported, ExportReport, export


@click.command("export")
@click.argument("what")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--hand-over", is_flag=True, help="For a move: nobody is told from here any more.")
@click.pass_context
def export_command(context: click.Context, what: str, directory: Path, hand_over: bool) -> None:
    """Write all that is kept of WHAT, an address or a domain, to the new DIRECTORY.

    Maildirs of what was sent and of what waits, and JSON for the rest; `xhmtp import` reads it. The
    agent may go on working. With --hand-over, the host that imports it tells those who are still to
    be told, and this one does not; stop xhmtp-notify first.
    """
    report = export(open_agent(context.obj), what, directory, hand_over=hand_over)
    for one in report.exported:
        click.echo(_in_words(one))
    for line in _ending(report, directory):
        click.echo(line)


def _in_words(one: Exported) -> str:
    kept_out = f" ({one.quarantined:,} in quarantine)" if one.quarantined else ""
    return (
        f"{one.owner}: messages sent: {one.messages:,} ({one.octets:,} octets); recipients still "
        f"to be told: {one.waiting:,}; notifications: {one.notices:,}{kept_out}; "
        f"drafts: {one.drafts:,}"
    )


def _ending(report: ExportReport, directory: Path) -> Iterator[str]:
    if report.handed_over is not None:
        yield f"recipients whom this host tells no more: {report.handed_over:,}"
    yield f"{directory} is whole. Whoever can read it can read these messages, as in the database."
