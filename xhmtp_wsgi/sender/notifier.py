"""The notifier: takes what is due, has it told, records (docs/delivery.md).

RFC 5598's transfer step; `xhmtp-notify` runs it. Notifications go out side by side. A destination
that does not answer is tried once, and what else waits for it is put off; one that is slow keeps no
place from the others.
"""

import os
import secrets
import socket
from collections.abc import Callable, Sequence

from xhmtp_wsgi import counters
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Transient
from xhmtp_wsgi.sender import queue
from xhmtp_wsgi.sender.announcements import Announcements
from xhmtp_wsgi.sender.notifier_pass import NotifierPass, PassReport, Progress
from xhmtp_wsgi.sender.queue import Terms
from xhmtp_wsgi.sender.reporting import report_all
from xhmtp_wsgi.sender.retry import RetrySchedule
from xhmtp_wsgi.sender.tidying import JUMPED, clock_jumped, tidy

MoreWork = Callable[[Agent, Callable[[], bool]], int]
"""Work of another room in the same pass, until it is over: how many messages came of it."""


class Notifier:
    """Works through the queue, one pass at a time."""

    def __init__(
        self,
        agent: Agent,
        stop: Callable[[], bool] = lambda: False,
        progress: Progress = lambda done, due: None,
        more: Sequence[MoreWork] = (),
    ) -> None:
        """``stop``: asked between entries; once it says yes, nothing new is begun.

        ``progress``: told how many entries are done, and how many were due; ``more``: done once
        everybody who was due has been told, and what comes of it is told in the same pass.
        """
        self._agent = agent
        self._more = more
        self._stop = stop
        self._progress = progress
        self._announcements = Announcements(agent.monotonic)
        self._newest = 0
        settings = agent.settings
        self._terms = Terms(
            owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            lease=settings.lease,
            schedule=RetrySchedule(
                settings.retry_first, settings.retry_longest, settings.give_up_after
            ),
            delay_report_after=settings.delay_report_after,
        )

    def has_news(self) -> bool:
        """Was something handed in since the last pass began? Costs next to nothing."""
        try:
            return queue.newest(self._agent.database) > self._newest
        except Transient:
            return False

    def run_pass(self) -> PassReport:
        """Tells everybody who is due, once; what could not be told waits for its next time.

        Then makes the reports that are due, tells of these too, and lets go of what has expired.
        Raises DatabaseUnavailable or StorageFull; what was under way is then tried again later.
        """
        database, clock = self._agent.database, self._agent.clock
        begun = clock()
        self._newest = queue.newest(database)
        jumped = clock_jumped(begun, counters.read(database).get("last_pass_began_at"))
        with database.transaction() as connection:
            told = {"last_pass_began_at": begun}
            counters.put(connection, {**told, JUMPED: begun} if jumped else told)
        ends = self._agent.monotonic() + self._agent.settings.pass_limit

        def over() -> bool:
            return self._stop() or self._agent.monotonic() >= ends

        work = NotifierPass(self._agent, self._terms, over, self._progress, self._announcements)
        work.run()
        made = report_all(self._agent, self._terms.schedule, over)
        added = sum(one(self._agent, over) for one in self._more)
        if made + added and not over():
            work.run()
        tidy(self._agent, begun, over)
        with database.transaction() as connection:
            counters.put(connection, {"last_pass_ended_at": clock()})
        return work.report(made, (jumped,) if jumped else ())
