"""Reports: alice is told, in her own inbox, what became of a message: once a message and pass.

A report is a message like any other, from postmaster@A to alice@A: stored in the outbox and told of
over the wire, as the wings meet nowhere else. It is stored in the transaction that ends its being
due, so that it is neither lost nor made twice. Nobody is ever told what became of a report.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.access_code import new_code, new_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.message import Preamble, prepare
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.failure_notice import LOCAL, Fate, Kind, Subject, compose
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.sender.retry import RetrySchedule
from xhmtp_wsgi.sender.tables import deliveries, messages

LOOKED_UP_AT_ONCE = 100  # messages
MAX_REPORT = 64 << 20  # octets


def report_all(agent: Agent, schedule: RetrySchedule, over: Callable[[], bool]) -> int:
    """Makes a report for each message with something to tell; returns how many were made."""
    made = 0
    while not over():
        with agent.database.reading() as connection:
            found = connection.execute(
                select(deliveries.c.message)
                .where(deliveries.c.report_due.is_not(None))
                .distinct()
                .limit(LOOKED_UP_AT_ONCE)
            )
            waiting = list(found.scalars())
        if not waiting:
            break
        for identifier in waiting:
            made += _report(agent, identifier, schedule)
    return made


def _report(agent: Agent, identifier: str, schedule: RetrySchedule) -> bool:
    """Makes the report for one message; False where there is nothing to tell, or nobody."""
    now = agent.clock()
    with agent.database.transaction() as connection:
        message = connection.execute(
            select(messages).where(messages.c.id == identifier).with_for_update()
        ).one()
        fates = _fates(connection, identifier, schedule)
        connection.execute(
            update(deliveries)
            .where(deliveries.c.message == identifier, deliveries.c.report_due == Kind.DELAYED)
            .values(delay_told_at=now)
        )
        connection.execute(
            update(deliveries)
            .where(deliveries.c.message == identifier, deliveries.c.report_due.is_not(None))
            .values(report_due=None)
        )
        if message.is_report or not fates:
            return False
        sender = Endpoint.parse(message.sender)
        subject = Subject(
            identifier, sender, message.header, _title(message.header), message.created_at
        )
        _store(connection, agent, sender, compose(subject, fates, now), now)
    return True


def _fates(connection: Connection, identifier: str, schedule: RetrySchedule) -> list[Fate]:
    found = connection.execute(
        select(deliveries)
        .where(
            deliveries.c.message == identifier,
            deliveries.c.report_due.is_not(None),
            deliveries.c.state != State.WITHDRAWN,
        )
        .order_by(deliveries.c.id)
    )
    return [
        Fate(
            row.recipient,
            Kind(row.report_due),
            row.state,
            row.last_status,
            row.last_answer or "",
            row.last_try_at,
            row.queued_at + schedule.give_up_after,
            row.moved_to,
        )
        for row in found
    ]


def _store(
    connection: Connection, agent: Agent, recipient: Endpoint, report: bytes, now: float
) -> None:
    # What stores messages; a pass that has nothing to tell its senders does without it.
    from xhmtp_wsgi.sender.spool import spool
    from xhmtp_wsgi.sender.storing import NewRecipient, NewRepresentation, add

    sender = Endpoint(LOCAL, recipient.domain)

    def prepared(block: bytes) -> Preamble:
        return prepare(
            block,
            now=datetime.fromtimestamp(now, UTC),
            domain=sender.domain,
            new_identifier=new_identifier,
            limit=MAX_REPORT,
        )

    spooled = spool(
        [report],
        prepared,
        directory=agent.settings.spool,
        header_limit=MAX_REPORT,
        limit=MAX_REPORT,
    )
    with spooled.file:
        stored = StoredMessage(
            identifier=new_identifier(),
            sender=sender,
            message_id=spooled.preamble.message_id,
            digest=spooled.digest,
            size=spooled.size,
            created_at=now,
            expires_at=now + agent.settings.keep_for,
            withdrawn_at=None,
        )
        code = new_code()
        told = NewRepresentation(spooled, None, [NewRecipient(recipient, code)])
        add(connection, stored, [told], None)


def _title(header: bytes) -> str:
    fields = scan(header.removesuffix(b"\r\n"), len(header))
    return next((field.value for field in fields if field.name.lower() == "subject"), "")
