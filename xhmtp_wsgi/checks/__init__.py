"""Is all as it must be? What `xhmtp check` looks at, here and from outside.

Each module looks at one side of an installation and yields findings: what was looked at, how it is,
what to do. ``run`` puts them in the order in which one mends them: what stands later often fails
only because of what stands before it.

Security: nothing that a check prints holds a secret, and nothing that it does changes more than an
invitation of its own.
"""

from collections.abc import Iterator
from pathlib import Path

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.checks import database as database_checks
from xhmtp_wsgi.checks import files, outside, records, work
from xhmtp_wsgi.checks.finding import Finding, State
from xhmtp_wsgi.network import Network

__all__ = ["Finding", "State", "run"]


def run(
    agent: Agent, network: Network, settings_file: Path | None, domains: list[str]
) -> Iterator[Finding]:
    """Everything about the agent and these domains of its own.

    ``network``: one that may connect to the agent's own addresses, whatever they are;
    ``settings_file``: None where the settings are a site's own.
    """
    yield from files.findings(agent, settings_file)
    usable = True
    for finding in database_checks.findings(agent):
        usable = usable and finding.state is not State.BROKEN
        yield finding
    for domain in domains:
        yield from records.findings(agent, domain, keys_known=usable)
    for domain in domains:
        yield from outside.findings(agent, network, domain, may_invite=usable)
    if usable:
        yield from work.findings(agent)
