"""What the service counts, for Prometheus: numbers alone, nothing of photos or of who asked."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)


class Metrics:
    """The numbers of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.jobs = Counter(
            "cloakwork_jobs", "Jobs that are over, by how.", ["state"], registry=self.registry
        )
        self.refused = Counter(
            "cloakwork_refused", "Requests refused, by why.", ["reason"], registry=self.registry
        )
        self.seconds = Histogram(
            "cloakwork_job_seconds",
            "Seconds that jobs ran.",
            buckets=SECONDS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Show a number that is asked for whenever somebody looks."""
        Gauge(name, about, registry=self.registry).set_function(value)
