"""xhmtp inbox: what waits for somebody, with what was checked of it."""

import json

import click

from xhmtp_wsgi.commands import open_agent
from xhmtp_wsgi.commands.wording import date, table
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox as notices
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.notice_text import fields_of


@click.command("inbox")
@click.argument("address")
@click.option("--limit", default=50, show_default=True, help="Messages at the most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the URL.")
@click.pass_context
def inbox(context: click.Context, address: str, limit: int, as_json: bool) -> None:
    """List what waits for ADDRESS, newest first."""
    agent = open_agent(context.obj)
    owner = Endpoint.parse(address)
    newest = notices.state(agent.database, owner).last_position
    found = notices.page(agent.database, owner, newest=newest, limit=limit)
    if as_json:
        for notice in found:
            click.echo(json.dumps(_described(notice), ensure_ascii=False))
        return
    rows = []
    for notice in found:
        fields = fields_of(notice)
        rows.append(
            (
                str(notice.position),
                date(notice.received_at),
                fields.get("from", "anonymous")[:40],
                fields.get("subject", "(no subject)")[:60],
                ", ".join(f"{check.name} {check.result}" for check in notice.checks),
            )
        )
    for line in table(("NUMBER>", "CAME", "FROM", "SUBJECT", "CHECKS"), rows):
        click.echo(line)


def _described(notice: Notice) -> dict[str, object]:
    fields = fields_of(notice)
    return {
        "number": notice.position,
        "received": date(notice.received_at),
        "from": fields.get("from"),
        "subject": fields.get("subject"),
        "size": notice.size,
        "url": notice.url,
        "checks": {
            check.name: {"result": check.result, "reason": check.reason} for check in notice.checks
        },
    }
