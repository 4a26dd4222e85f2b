"""Metrics of the arbiter and of every domain's limit, computed when scraped.

OpenMetrics, or Prometheus' older text format on request. The number of time series is bounded:
codes and parts are fixed, and at most MOST_DOMAINS domains are included.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maxmemd import __version__
from maxmemd.api import domain_metrics
from maxmemd.api.health import Space, is_ready
from maxmemd.api.reading.strides import Reading
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.messages import DomainView
from maxmemd.histogram import Distribution

OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = b"text/plain; version=0.0.4; charset=utf-8"
MOST_DOMAINS = 1024
END = b"# EOF\n"
"""What ends a text of OpenMetrics."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The state that one scrape reports."""

    mailbox: Mailbox
    domains: Sequence[DomainView]
    parts: Mapping[str, str]
    streams: int
    space: Space | None
    refused: Mapping[str, int]
    """Requests refused before the arbiter saw them, by code."""
    simulated: bool
    loop_age_s: float = 0.0


def wants_plain(accept: str) -> bool:
    """Whether a scraper asks for the older format."""
    return "text/plain" in accept and "application/openmetrics-text" not in accept


def to_text(scene: Scene, reading: Reading, *, plain: bool) -> bytes:
    """Return the metrics as text. prometheus-client is imported by the first scrape."""
    from prometheus_client import CollectorRegistry, exposition
    from prometheus_client.core import GaugeMetricFamily as Gauge
    from prometheus_client.openmetrics import exposition as openmetrics

    generate: Any = exposition.generate_latest if plain else openmetrics.generate_latest

    def text_of(family: Any) -> bytes:
        class Scrape:
            def collect(self) -> list[Any]:
                return [family]

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Scrape())
        exposed: bytes = generate(registry)
        return exposed.removesuffix(END)

    shown = [view for view in scene.domains if view.record and view.xen and view.push]
    here = Gauge("maxmemd_domains", "Domains here that have a record", len(shown))
    families = (*_of_daemon(scene), *_of_arbiter(scene.mailbox), _refusals(scene), here)
    texts = reading.each(families, text_of)
    domains = domain_metrics.to_text(shown[:MOST_DOMAINS], reading)
    return b"".join((*texts, domains, b"" if plain else END))


def _of_daemon(scene: Scene) -> Iterable[Any]:
    from prometheus_client.core import GaugeMetricFamily as Gauge

    labels, host = ["version", "host"], "simulated" if scene.simulated else "xen"
    build = Gauge("maxmemd_build_info", "The version of maxmemd, and its host", labels=labels)
    build.add_metric([__version__, host], 1)
    yield build
    ready = Gauge("maxmemd_part_ready", "1 when this part is ready, as /v1/health", labels=["part"])
    for part, state in scene.parts.items():
        ready.add_metric([part], float(is_ready(state)))
    yield ready
    yield Gauge("maxmemd_queue_depth", "Requests waiting or being decided", scene.mailbox.depth)
    yield Gauge(
        "maxmemd_arbiter_age_seconds",
        "Since the arbiter thread last finished a loop",
        scene.mailbox.thread.age_s,
    )
    yield Gauge(
        "maxmemd_loop_age_seconds",
        "The longest in the last minute that the event loop did not come round",
        scene.loop_age_s,
    )
    yield Gauge("maxmemd_event_streams", "Clients of /v1/events", scene.streams)
    if scene.space is not None:
        size = Gauge("maxmemd_ledger_size_bytes", "The size of the ledger's files", labels=["file"])
        size.add_metric(["database"], scene.space.database_bytes)
        size.add_metric(["wal"], scene.space.wal_bytes)
        yield size
        free = scene.space.free_bytes
        yield Gauge("maxmemd_ledger_free_bytes", "Free space where the ledger is", free)


def _of_arbiter(mailbox: Mailbox) -> Iterable[Any]:
    from prometheus_client.core import CounterMetricFamily as Counter
    from prometheus_client.core import GaugeMetricFamily as Gauge

    yield _histogram(
        "maxmemd_decision_seconds",
        "From a request's arrival to its answer: queue, decision, commit, push",
        mailbox.took_s.snapshot(),
    )
    status = mailbox.status
    yield _histogram(
        "maxmemd_batch_size", "Requests and queries answered in one batch", status.batch_sizes
    )
    figures = status.figures
    if figures is None:
        return
    yield Gauge(
        "maxmemd_pruning_ended",
        "1 while the history is not pruned any more because of a fault",
        float(bool(figures.pruning_ended_by)),
    )
    yield _histogram("maxmemd_commit_seconds", "A transaction with its fsync", figures.commit_s)
    yield _histogram("maxmemd_push_seconds", "A push to Xen and its read-back", figures.push_s)
    for name, text, value in (
        ("maxmemd_decisions", "Requests granted and recorded", figures.decisions),
        ("maxmemd_drift", "Foreign writes seen", figures.drifts),
        ("maxmemd_drift_healed", "Foreign writes that were reverted", figures.healed),
        ("maxmemd_fights", "Fights with other programs that began", figures.fights_begun),
        ("maxmemd_push_failures", "Pushes not wholly written", figures.push_failures),
        (
            "maxmemd_domain_faults",
            "Faults of maxmemd met with one domain",
            figures.domain_faults,
        ),
        ("maxmemd_notes_dropped", "History entries that could not be written", figures.dropped),
    ):
        yield Counter(name, text, value=value)


def _refusals(scene: Scene) -> Any:
    from prometheus_client.core import CounterMetricFamily as Counter

    figures = scene.mailbox.status.figures
    refused = Counter("maxmemd_refusals", "Requests and connections refused", labels=["code"])
    counts = collections.Counter(scene.refused) + collections.Counter(
        figures.refusals if figures is not None else {}
    )
    for code, count in sorted(counts.items()):
        refused.add_metric([code], count)
    return refused


def _histogram(name: str, text: str, values: Distribution) -> Any:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(name, text, buckets=values.buckets(), sum_value=values.total)
