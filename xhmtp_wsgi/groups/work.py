"""The work that waits in the groups' mailboxes, done in the notifier's pass.

A notice is claimed for a bounded time, as entries of the queue are, so that several notifiers do
not work on the same; what fails for now is tried again as notifications are, what fails for good is
kept in the folder FAILED, and its author is told. What is done is emptied: the group's own copy of
the message stands in its outbox, and the same notification again is still known.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Integer,
    Table,
    Text,
    func,
    or_,
    select,
    update,
)

from xhmtp_wsgi import group_register
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.errors import ConnectionFailed, Gone, NotFound, Permanent, Transient, XHMTPError
from xhmtp_wsgi.group_register import Group
from xhmtp_wsgi.groups.answers import answer
from xhmtp_wsgi.groups.passing_on import pass_on
from xhmtp_wsgi.groups.requests import Request, fulfil
from xhmtp_wsgi.protocol.conversation import identifiers
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import addresses, display
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.group_policy import is_report, is_vouched
from xhmtp_wsgi.recipient.inbox import Notice, notice_of
from xhmtp_wsgi.recipient.tables import mailboxes, notices
from xhmtp_wsgi.recipient.verdict import PASS
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender.retry import FEWEST_TRIES, RetrySchedule

logger = logging.getLogger(__name__)

LOOKED_UP_AT_ONCE = 50  # notices
DONE, FAILED = "passed on", "failed"
INTERNAL = "an internal error of the group's agent"

group_work = Table(
    "group_work",
    metadata,
    Column("notice", ForeignKey("notice.id", ondelete="CASCADE"), primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", Double, nullable=False),
    Column("last_answer", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class _Task:
    """A notice in a group's mailbox; ``fields``: of its header, by name in lower case."""

    group: Group
    notice: Notice
    url: MessageURL
    author: Endpoint | None
    vouched: bool
    fields: dict[str, str]

    @property
    def message_id(self) -> str | None:
        return next(iter(identifiers(self.fields.get("message-id", ""))), None)

    @property
    def is_automatic(self) -> bool:
        return self.fields.get("auto-submitted", "no").lower() != "no"


def work_through(agent: Agent, over: Callable[[], bool]) -> int:
    """Works on all that waits, until ``over`` says so; returns how many messages were made.

    Raises DatabaseUnavailable or StorageFull of our own database.
    """
    groups = {
        str(group.endpoint): group
        for group in group_register.all_groups(agent.database)
        if agent.accounts.acts_for(group.endpoint.domain)
    }
    work = _Work(agent)
    made = 0
    while groups and not over():
        waiting = work.waiting(list(groups))
        if not waiting:
            break
        for address, notice in waiting:
            if over():
                break
            made += work.do(groups[address], notice)
    return made


class _Work:
    """The state of one pass; ``_failing``: hosts that did not answer in it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        settings = agent.settings
        self._schedule = RetrySchedule(
            settings.retry_first, settings.retry_longest, settings.give_up_after
        )
        self._failing: set[str] = set()

    def waiting(self, groups: Sequence[str]) -> list[tuple[str, Notice]]:
        """Some of the notices that are due, those that were never tried first."""
        with self._agent.database.reading() as connection:
            found = connection.execute(
                select(notices, mailboxes.c.address)
                .join(mailboxes, mailboxes.c.id == notices.c.mailbox)
                .outerjoin(group_work, group_work.c.notice == notices.c.id)
                .where(
                    mailboxes.c.address.in_(groups),
                    notices.c.folder == mailbox.INBOX,
                    notices.c.position > 0,
                    notices.c.deleted_at.is_(None),
                    or_(group_work.c.notice.is_(None), self._is_due()),
                )
                .order_by(
                    func.coalesce(group_work.c.tries, 0), notices.c.received_at, notices.c.position
                )
                .limit(LOOKED_UP_AT_ONCE)
            ).all()
        return [(row.address, notice_of(row)) for row in found]

    def do(self, group: Group, notice: Notice) -> int:
        """Works on one notice, if nobody else does; returns how many messages were made."""
        tries = self._claim(notice)
        if tries is None:
            return 0
        task = _task(group, notice)
        try:
            if task.url.host in self._failing:
                raise ConnectionFailed(f"{task.url.host} does not answer")
            made = self._made(task)
        except Transient as error:
            if isinstance(error, ConnectionFailed):
                self._failing.add(task.url.host)
            return self._later(task, tries, error)
        except Permanent as error:
            return self._give_up(task, error)
        except Exception:
            # A fault of ours must not stop the notices behind this one.
            logger.exception("the notice %s of %s failed", notice.identifier, group.endpoint)
            return self._later(task, tries, Transient(INTERNAL))
        self._finish(task, DONE)
        mailbox.delete(self._agent.database, group.endpoint, [notice.identifier], self._now())
        return made

    def _made(self, task: _Task) -> int:
        asked = self._request(task)
        if not asked:
            report = task.author is not None and is_report(task.group, task.author)
            return pass_on(
                self._agent, task.group, task.notice, task.author, to_owners=report and task.vouched
            )
        if task.author is None or not task.vouched:
            return 0
        return fulfil(
            self._agent,
            Request(
                group=task.group,
                kind=asked,
                author=task.author,
                subject=task.fields.get("subject", ""),
                message_id=task.message_id,
                identifier=task.notice.identifier,
                is_automatic=task.is_automatic,
            ),
        )

    def _request(self, task: _Task) -> str:
        """``join``, ``leave``, or nothing where it is a message to the group."""
        found = self._agent.addressing.resolve(task.url.recipient)
        if found is None or found.endpoint != task.group.endpoint:
            # An alias of the group's that has been taken away since.
            raise NotFound(f"{task.url.recipient} does not lead to {task.group.endpoint} any more")
        return found.request

    def _claim(self, notice: Notice) -> int | None:
        """Counts a try, and returns its number; None where somebody else works on it, or has."""
        lease = self._now() + self._agent.settings.lease
        with self._agent.database.transaction() as connection:
            there = connection.execute(
                select(notices.c.id)
                .where(
                    notices.c.id == notice.identifier,
                    notices.c.folder == mailbox.INBOX,
                    notices.c.deleted_at.is_(None),
                )
                .with_for_update()
            ).first()
            if there is None:
                return None
            claimed = insert_or(connection, group_work).values(
                notice=notice.identifier, tries=1, next_try_at=lease, last_answer=""
            )
            tries: int | None = connection.execute(
                claimed.on_conflict_do_update(
                    index_elements=[group_work.c.notice],
                    set_={"tries": group_work.c.tries + 1, "next_try_at": lease},
                    where=self._is_due(),
                ).returning(group_work.c.tries)
            ).scalar_one_or_none()
            return tries

    def _later(self, task: _Task, tries: int, error: XHMTPError) -> int:
        now = self._now()
        age = now - task.notice.received_at
        if age >= self._agent.settings.give_up_after and tries >= FEWEST_TRIES:
            return self._give_up(task, error)
        logger.info("%s waits: %s", task.group.endpoint, error)
        with self._agent.database.transaction() as connection:
            connection.execute(
                update(group_work)
                .where(group_work.c.notice == task.notice.identifier)
                .values(next_try_at=now + self._schedule.wait(tries), last_answer=str(error))
            )
        return 0

    def _give_up(self, task: _Task, error: XHMTPError) -> int:
        """Its author is told, if it is surely he, and has not taken it back himself."""
        logger.info("%s does not pass on: %s", task.group.endpoint, error)
        told = 0
        # RFC 3834, section 2: no answer to a list, nor to what no person has sent.
        from_person = not task.is_automatic and "list-id" not in task.fields
        wants_to_know = from_person and not isinstance(error, Gone)
        if task.author is not None and task.vouched and wants_to_know:
            told = answer(
                self._agent,
                task.group,
                task.author,
                f"Not passed on: {display(task.fields.get('subject', '')) or '(no subject)'}"[:900],
                f"{task.group.title} did not get your message:\n{error}\n",
                name=f"{task.notice.identifier}.failed",
                to=task.message_id,
            )
        self._finish(task, FAILED)
        return told

    def _finish(self, task: _Task, folder: str) -> None:
        mailbox.move(self._agent.database, task.group.endpoint, [task.notice.identifier], folder)

    def _is_due(self) -> ColumnElement[bool]:
        now = self._now()
        settings = self._agent.settings
        # One that lies further ahead than any wait was written by a clock that was wrong.
        horizon = now + 2 * max(settings.retry_longest, settings.lease)
        return or_(group_work.c.next_try_at <= now, group_work.c.next_try_at > horizon)

    def _now(self) -> float:
        return self._agent.clock()


def _task(group: Group, notice: Notice) -> _Task:
    fields = {
        field.name.lower(): field.value for field in scan(notice.headers, len(notice.headers))
    }
    passed = frozenset(check.name for check in notice.checks if check.result == PASS)
    author = addresses(fields["from"])[0] if "from" in fields else None
    return _Task(group, notice, MessageURL.parse(notice.url), author, is_vouched(passed), fields)
