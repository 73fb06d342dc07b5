"""A person's own program, on a machine where no agent is: it acts for no domain, and has no users.

What it remembers (the keys of those she writes to) is in ~/.local/share/xhmtp/client.db; where
settings are named (--config, or XHMTP_CONFIG), they and their database are used instead, with
domains or without. Settings in the environment hold as everywhere.

Security: the file tells whom she writes to, and is her own alone.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.network import Network
from xhmtp_wsgi.settings import Settings

DATABASE = "client.db"
SILENCE = 120.0  # seconds in which an agent that has taken a large message may say nothing


def open_client(config: str | Agent | None) -> Agent:
    """The agent of her settings, or one that is hers alone; one that is open stays so.

    Raises SettingsError.
    """
    if isinstance(config, Agent):
        return config
    named = config or os.environ.get("XHMTP_CONFIG")
    if named:
        settings = Settings.load(named, os.environ, needs_domain=False)
    else:
        settings = Settings.load({}, os.environ, _directory(os.environ), needs_domain=False)
        if "XHMTP_DATABASE" not in os.environ:
            database = _directory(os.environ, make=True) / DATABASE
            settings = replace(settings, database=f"sqlite:///{database}")
    return _patient(make_agent(settings))


def _directory(environ: Mapping[str, str], *, make: bool = False) -> Path:
    """Where a person's programs keep what they know (XDG Base Directory)."""
    parent = Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    directory = parent / "xhmtp"
    if make:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SettingsError("database", f"{directory}: {error.strerror}") from None
    return directory


def _patient(agent: Agent) -> Agent:
    """The same with a network that waits longer for an answer."""
    settings = agent.settings
    network = Network(
        agent.discovery,
        allow_networks=settings.allow_networks,
        ports_allowed=settings.allow_ports or None,
        read_timeout=SILENCE,
        deadline=settings.try_deadline,
    )
    return replace(agent, network=network)
