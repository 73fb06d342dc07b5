"""Brings what is new in a mailbox into a Maildir, once each, and keeps the flags of both in step.

A message is first in the Maildir and then noted: where a run is killed between the two, the next
one finds the file by its name. One that is not to be had is tried again at the next run, and from
then on after a time that doubles. A message that is deleted on one side stays on the other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import DatabaseUnavailable, StorageFull, Transient, XHMTPError
from xhmtp_wsgi.maildir.files import SEEN, STARRED, File, Maildir, opened
from xhmtp_wsgi.maildir.local import header_message, whole_message
from xhmtp_wsgi.maildir.state import Body, Brought, FetchState, fetch_state
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox_flags import Flags, flags_of
from xhmtp_wsgi.recipient.reading import ReadMessage

AT_ONCE = 100  # notices that are read at once
RETRY_FIRST, RETRY_LONGEST = 300.0, 86400.0  # seconds

Open = Callable[[Notice], ReadMessage]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted. ``headers_only``: nothing is fetched; ``stand_ins``: a header stands in for
    what is not to be had."""

    headers_only: bool = False
    stand_ins: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a message. ``reason``: why it is not there, or not whole; empty where it is.

    ``is_news``: that was not so when it was tried last.
    """

    notice: Notice
    body: Body
    reason: str
    is_news: bool


def fetch(
    agent: Agent, owner: Endpoint, path: Path, open_message: Open, wish: Wish
) -> Iterator[Event]:
    """Does it, and tells of each message as it comes.

    Raises InUse where another process is at it; Malformed, Forbidden, StorageFull or
    DatabaseUnavailable; what was brought before that is there.
    """
    with opened(path) as maildir, fetch_state(path, owner) as state:
        run = _Run(agent, owner, maildir, state, open_message, wish)
        yield from run.bring()
        run.keep_in_step()


class _Run:
    """One run; what it knows of both sides."""

    def __init__(
        self,
        agent: Agent,
        owner: Endpoint,
        maildir: Maildir,
        state: FetchState,
        open_message: Open,
        wish: Wish,
    ) -> None:
        self._agent, self._owner = agent, owner
        self._maildir, self._state = maildir, state
        self._open, self._wish = open_message, wish
        self._failed_hosts: dict[str, str] = {}
        self._flags = flags_of(agent.database, owner)
        self._known = state.all()
        self._files: dict[str, File] = {}
        for file in maildir.files():
            self._add_file(file)
        self._adopt()

    def bring(self) -> Iterator[Event]:
        """The messages that are due, in the order in which they came."""
        due = sorted(
            (one for one in self._flags if self._is_due(one)),
            key=lambda one: self._flags[one].position,
        )
        for start in range(0, len(due), AT_ONCE):
            chunk = due[start : start + AT_ONCE]
            found = mailbox.several(self._agent.database, self._owner, chunk)
            for notice in sorted(found, key=lambda one: one.position):
                event = self._bring(notice)
                if event is not None:
                    yield event

    def keep_in_step(self) -> None:
        """Flags that have changed on one side since the last run are changed on the other."""
        changed: list[Brought] = []
        to_mailbox: dict[tuple[str, bool], list[str]] = {}
        for identifier, brought in self._known.items():
            file, flags = self._files.get(identifier), self._flags.get(identifier)
            if file is None or flags is None:
                continue
            seen = _merged(brought.seen, flags.seen, file.seen)
            starred = _merged(brought.starred, flags.starred, file.starred)
            if (seen, starred) != (file.seen, file.starred) and not self._maildir.set_flags(
                file, seen=seen, starred=starred
            ):
                continue
            if seen != flags.seen:
                to_mailbox.setdefault((SEEN, seen), []).append(identifier)
            if starred != flags.starred:
                to_mailbox.setdefault((STARRED, starred), []).append(identifier)
            if (seen, starred) != (brought.seen, brought.starred):
                changed.append(replace(brought, seen=seen, starred=starred))
        for (flag, value), identifiers in to_mailbox.items():
            self._tell_mailbox(flag, value, identifiers)
        self._state.put(*changed)

    def _tell_mailbox(self, flag: str, value: bool, identifiers: Sequence[str]) -> None:
        database, now = self._agent.database, self._agent.clock()
        for start in range(0, len(identifiers), 1000):
            some = identifiers[start : start + 1000]
            if flag == SEEN:
                mailbox.set_seen(database, self._owner, some, now, seen=value)
            else:
                mailbox.set_starred(database, self._owner, some, now, starred=value)

    def _add_file(self, file: File) -> None:
        """A file that is there; a header goes where the whole message is there too."""
        other = self._files.get(file.identifier)
        if other is not None and other.header_only != file.header_only:
            file, header = (other, file) if file.header_only else (file, other)
            self._maildir.remove(header)
        self._files[file.identifier] = file

    def _adopt(self) -> None:
        """Notes what a run that was killed has brought and not noted."""
        for identifier, file in self._files.items():
            brought, flags = self._known.get(identifier), self._flags.get(identifier)
            body = Body.HEADER if file.header_only else Body.WHOLE
            if flags is None or (brought is not None and brought.body in (body, Body.WHOLE)):
                continue
            self._note(Brought(identifier, body, flags.seen, flags.starred))

    def _is_due(self, identifier: str) -> bool:
        brought = self._known.get(identifier)
        if brought is None:
            return True
        if brought.body is Body.WHOLE or (brought.body is Body.HEADER and self._wish.headers_only):
            return False
        return brought.next_try_at <= self._agent.clock()

    def _bring(self, notice: Notice) -> Event | None:
        brought = self._known.get(notice.identifier) or Brought(notice.identifier, Body.NOTHING)
        header = self._files.get(notice.identifier)
        if brought.body is Body.HEADER and header is None:
            # Its reader has deleted it, and does not want the rest.
            self._note(replace(brought, body=Body.WHOLE))
            return None
        if self._wish.headers_only:
            self._deliver_header(notice, brought, "")
            return Event(notice, Body.HEADER, "", is_news=True)
        try:
            message = self._opened(notice)
        except (DatabaseUnavailable, StorageFull):
            raise
        except XHMTPError as error:
            return self._put_off(notice, brought, str(error))
        self._deliver_whole(notice, brought, message, header)
        return Event(notice, Body.WHOLE, "", is_news=True)

    def _opened(self, notice: Notice) -> ReadMessage:
        """The message; of an agent that did not answer nothing more is asked in this run."""
        host = MessageURL.parse(notice.url).host
        if host in self._failed_hosts:
            raise Transient(self._failed_hosts[host])
        try:
            return self._open(notice)
        except (DatabaseUnavailable, StorageFull):
            raise
        except Transient as error:
            self._failed_hosts[host] = str(error)
            raise

    def _put_off(self, notice: Notice, brought: Brought, reason: str) -> Event:
        tries = brought.tries + 1
        wait = min(RETRY_FIRST * 2.0 ** (tries - 2), RETRY_LONGEST) if tries > 1 else 0.0
        later = replace(
            brought, tries=min(tries, 20), next_try_at=self._agent.clock() + wait, reason=reason
        )
        if self._wish.stand_ins and brought.body is Body.NOTHING:
            self._deliver_header(notice, later, reason)
        else:
            self._note(later)
        return Event(
            notice, self._known[notice.identifier].body, reason, is_news=brought.reason != reason
        )

    def _deliver_header(self, notice: Notice, brought: Brought, reason: str) -> None:
        flags = self._flags[notice.identifier]
        octets = header_message(self._owner, notice, reason)
        self._files[notice.identifier] = self._maildir.deliver(
            notice.identifier, notice.received_at, octets, flags=_letters(flags), header_only=True
        )
        self._note(replace(brought, body=Body.HEADER, seen=flags.seen, starred=flags.starred))

    def _deliver_whole(
        self, notice: Notice, brought: Brought, message: ReadMessage, header: File | None
    ) -> None:
        flags = self._flags[notice.identifier]
        checks = (*notice.checks, *message.checks)
        octets = whole_message(message.octets, self._owner, notice, checks)
        letters = header.flags if header is not None else _letters(flags)
        self._files[notice.identifier] = self._maildir.deliver(
            notice.identifier, notice.received_at, octets, flags=letters
        )
        if header is not None:
            self._maildir.remove(header)
            self._note(Brought(notice.identifier, Body.WHOLE, brought.seen, brought.starred))
        else:
            self._note(Brought(notice.identifier, Body.WHOLE, flags.seen, flags.starred))

    def _note(self, brought: Brought) -> None:
        self._state.put(brought)
        self._known[brought.identifier] = brought


def _merged(before: bool, mailbox_now: bool, file_now: bool) -> bool:
    """What a flag is to be: what was changed wins, and both sides can only change it alike."""
    return mailbox_now if mailbox_now != before else file_now


def _letters(flags: Flags) -> str:
    return (STARRED if flags.starred else "") + (SEEN if flags.seen else "")
