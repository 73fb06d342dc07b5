"""``PREFIX/metrics``: counters for Prometheus, for the addresses that the settings name.

Security: it names no address, no message and no domain but in figures; to whoever may not read it,
it is not there.
"""

from collections.abc import Iterable, Mapping

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from webob import Request, Response

from xhmtp_wsgi import counters
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.client_address import client_address
from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.routes import MetricsRoute
from xhmtp_wsgi.sender import queue_listing
from xhmtp_wsgi.sender.counting import BOUNDS


def metrics(agent: Agent, request: Request, route: MetricsRoute) -> Response:
    """``GET /PREFIX/metrics``, in Prometheus's text format."""
    address = client_address(request, agent.settings.trusted_proxies)
    if address is None or not any(address in network for network in agent.settings.metrics):
        raise NotFound("there is no such resource")
    agent.counters.write()
    registry = CollectorRegistry()
    registry.register(_Collected(list(_families(agent))))
    return response(200, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)


class _Collected:
    """Families as prometheus-client wants them handed in."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(agent: Agent) -> Iterable[Metric]:
    now = agent.clock()
    queue = queue_listing.state(agent.database)
    age = now - queue.oldest_at if queue.oldest_at is not None else 0.0
    found = counters.read(agent.database)
    yield _gauge("queue_entries", "Recipients who are still to be told", queue.entries)
    yield _gauge("queue_oldest_seconds", "Age of the oldest of them", max(age, 0.0))
    yield _gauge("queue_set_aside", "Those set aside after internal errors", queue.set_aside)
    yield _gauge("failing_destinations", "Domains that fail", queue.failing_destinations)
    last = found.get("last_pass_ended_at")
    if last is not None:
        yield _gauge("last_pass_timestamp_seconds", "When the last pass ended", last)
    yield _counter("tries", "POSTs of notifications that were tried", found.get("tries", 0.0))
    yield _by_label(found, "tries_answered", "Tries by class of the answer", "class")
    yield _by_label(found, "recipients", "Recipients by how it ended", "state")
    yield _by_label(found, "notifications", "Notifications that came in", "result")
    yield _durations(found)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"xhmtp_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"xhmtp_{name}", text, value)


def _by_label(found: Mapping[str, float], name: str, text: str, label: str) -> Metric:
    family = CounterMetricFamily(f"xhmtp_{name}", text, labels=[label])
    for full_name, value in sorted(found.items()):
        start, colon, rest = full_name.partition(":")
        if colon and start == name:
            family.add_metric([rest], value)
    return family


def _durations(found: Mapping[str, float]) -> Metric:
    """The tries' durations; Prometheus wants each class to hold those below it too."""
    family = HistogramMetricFamily("xhmtp_try_seconds", "Duration of a try")
    classes, total = [], 0.0
    for bound in (*map(str, BOUNDS), "+Inf"):
        total += found.get(f"try_seconds_within:{bound}", 0.0)
        classes.append((bound, total))
    family.add_metric([], classes, found.get("try_seconds", 0.0))
    return family
