"""Does the work get done? The notifier's last pass, the age of the queue, the clock, accounts."""

from collections.abc import Iterator

from xhmtp_wsgi import counters
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks.finding import Finding, broken, ok, warning
from xhmtp_wsgi.sender import queue_listing

LATE = 600.0  # seconds since the last pass: cron runs it each minute
OLD = 4 * 3600.0  # seconds that an entry waits before it is told of
AHEAD = 60.0  # seconds that a stored time may lie ahead of the clock
CRON = "run it from cron each minute: * * * * *  xhmtp-notify --config FILE (contrib/cron.d)"


def findings(agent: Agent) -> Iterator[Finding]:
    """What the database tells of the work."""
    now = agent.clock()
    ended_at = counters.read(agent.database).get("last_pass_ended_at")
    if ended_at is not None and ended_at > now + AHEAD:
        yield broken(
            "clock",
            "this machine",
            f"the notifier's last pass ended {ended_at - now:.0f} s ahead of this clock",
            "set the clock by NTP, on every host of the agent: chrony or systemd-timesyncd",
        )
    elif ended_at is None:
        yield broken("notifier", "xhmtp-notify", "has never run: nobody is told anything", CRON)
    elif now - ended_at > LATE:
        minutes = (now - ended_at) / 60
        yield broken("notifier", "xhmtp-notify", f"ran last {minutes:.0f} minutes ago", CRON)
    else:
        yield ok("notifier", "xhmtp-notify", f"ran {max(now - ended_at, 0):.0f} s ago")
    yield from _queue(agent, now)
    yield _accounts(agent)


def _queue(agent: Agent, now: float) -> Iterator[Finding]:
    queue = queue_listing.state(agent.database)
    if queue.set_aside:
        yield broken(
            "queue", "the queue", f"{queue.set_aside} entries are set aside after internal errors",
            "xhmtp queue list, and xhmtp status ID for the traceback; then xhmtp queue retry",
        )  # fmt: skip
    age = 0.0 if queue.oldest_at is None else now - queue.oldest_at
    if age > OLD:
        slow = queue_listing.waiting_domains(agent.database)[0]
        yield warning(
            "queue",
            "the queue",
            f"the oldest of {queue.entries} entries has waited for {age / 3600:.0f} h; most of "
            f"them for {slow.domain}: {slow.last_answer or 'not tried yet'}",
            "xhmtp queue list; xhmtp check DOMAIN tells what is wrong with a domain",
        )
    elif not queue.entries:
        yield ok("queue", "the queue", "nobody waits to be told")
    elif not queue.set_aside:
        yield ok(
            "queue", "the queue", f"{queue.entries} entries, the oldest {age / 60:.0f} min old"
        )


def _accounts(agent: Agent) -> Finding:
    known = len(agent.accounts.all())
    if known or agent.accounts.has_site_users:
        of_site = " and the site's own users" if agent.accounts.has_site_users else ""
        return ok("accounts", "accounts", f"{known} of ours{of_site}")
    return warning(
        "accounts", "accounts", "there is none: nobody can send or receive",
        f"xhmtp user add you@{next(iter(agent.settings.domains))}",
    )  # fmt: skip
