"""An operation on a resource: its path, what may come in, what it answers, who does the work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint

Schema: TypeAlias = Mapping[str, Any]
"""A schema as JSON Schema has it (2020-12)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an operation, checked: what its path, its query and its body say."""

    agent: Agent
    request: Request
    owner: Endpoint
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any


Handler: TypeAlias = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Operation:
    """``path``: behind ``/bob@B/api/``, with ``{names}`` in it.

    ``query`` and ``body``: schemas, the former by parameter; ``answers``: the schema of each answer
    by status, None where it has no body. Errors are the same for all, and are added by whoever
    describes it.
    """

    name: str
    method: str
    path: str
    summary: str
    handler: Handler
    answers: Mapping[int, Schema | None]
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    media_type: str = "application/json"

    @property
    def segments(self) -> tuple[str, ...]:
        """The path, by segments."""
        return tuple(self.path.split("/")) if self.path else ()

    def match(self, path: tuple[str, ...]) -> Mapping[str, str] | None:
        """The names in the path and what stands in their places; None for another path."""
        if len(path) != len(self.segments):
            return None
        found = {}
        for wanted, given in zip(self.segments, path, strict=True):
            if wanted.startswith("{"):
                found[wanted[1:-1]] = given
            elif wanted != given:
                return None
        return found
