"""What Prometheus may read at ``/metrics``: a registry of its own for each application."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds; 0.02 is what a decision may take."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The figures of one broker. Counters are for its own work; gates and store are what all brokers see."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        labels = ["route", "method", "status"]
        self._exchanges = Counter("gatebus_exchanges", "HTTP exchanges.", labels, registry=registry)
        self._seconds = Histogram(
            "gatebus_exchange_seconds",
            "Seconds from the head of a call to its answer; event streams are left out.",
            labels[:2],
            buckets=BUCKETS,
            registry=registry,
        )
        self._decisions = Counter(
            "gatebus_decisions", "Decisions taken at this broker.", ["kind", "route"], registry=registry
        )
        self._notifications = Counter(
            "gatebus_notifications", "Messages to people outside.", ["target", "outcome"], registry=registry
        )
        self._streams = Gauge("gatebus_streams", "Open event streams.", registry=registry)
        self._gates = Gauge("gatebus_gates", "Gates that have not ended.", ["status"], registry=registry)
        self._runs = Gauge(
            "gatebus_runs", "Runs that go on from parked gates and have not ended.", ["state"], registry=registry
        )
        self._store_up = Gauge("gatebus_store_up", "1 while the store answers, else 0.", registry=registry)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def exchanged(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Counts an exchange; ``route`` is a template of the route table, ``seconds`` None for an event stream."""
        self._exchanges.labels(route, method, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(route, method).observe(seconds)

    def decided(self, kind: str, route: str) -> None:
        """Counts a decision: the gate's kind, and its route as digits or ``cancel``."""
        self._decisions.labels(kind, route).inc()

    def notified(self, target: str, sent: bool) -> None:
        """Counts a message; ``target`` is its form (json, slack, …), never an address."""
        self._notifications.labels(target, "sent" if sent else "failed").inc()

    def render(self, streams: int, gates: Mapping[str, int] | None, runs: Mapping[str, int]) -> bytes:
        """The figures as Prometheus reads them.

        ``gates``: status -> count, None while the store is away; ``runs``: state -> count.
        """
        self._streams.set(streams)
        self._store_up.set(0 if gates is None else 1)
        # While the store is away the count is unknown, which is not the same as the last one.
        self._gates.clear()
        for status, count in (gates or {}).items():
            self._gates.labels(status).set(count)
        self._runs.clear()
        for state, count in runs.items():
            self._runs.labels(state).set(count)
        return bytes(generate_latest(self._registry))


METRICS = web.AppKey("gatebus_metrics", Metrics)
"""Where an application keeps its figures."""
