"""Metrics of the arbiter and of every domain's limit, computed when scraped.

OpenMetrics, or Prometheus' older text format on request. The number of time series is bounded:
codes and parts are fixed, and at most MOST_DOMAINS domains are included.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maxmemd import __version__
from maxmemd.api.health import Space, is_ready
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.messages import DomainView
from maxmemd.histogram import Distribution
from maxmemd.policy.states import IN_FORCE, PushState
from maxmemd.units import UNLIMITED_PAGES, Memory

OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = b"text/plain; version=0.0.4; charset=utf-8"
MOST_DOMAINS = 1024


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


def wants_plain(accept: str) -> bool:
    """Whether a scraper asks for the older format."""
    return "text/plain" in accept and "application/openmetrics-text" not in accept


def to_text(scene: Scene, *, plain: bool) -> bytes:
    """Return the metrics as text. prometheus-client is imported by the first scrape."""
    from prometheus_client import CollectorRegistry, exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    families = [
        *_of_daemon(scene),
        *_of_arbiter(scene.mailbox),
        _refusals(scene),
        *_of_domains(scene.domains),
    ]

    class Scrape:
        def collect(self) -> list[Any]:
            return families

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Scrape())
    generate: Any = exposition.generate_latest if plain else openmetrics.generate_latest
    exposed: bytes = generate(registry)
    return exposed


def _of_daemon(scene: Scene) -> Iterable[Any]:
    from prometheus_client.core import GaugeMetricFamily as Gauge

    build = Gauge("maxmemd_build_info", "The version of maxmemd", labels=["version"])
    build.add_metric([__version__], 1)
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


def _of_domains(domains: Sequence[DomainView]) -> list[Any]:
    from prometheus_client.core import GaugeMetricFamily as Gauge

    labels = ["uuid", "name"]
    limit = Gauge("maxmemd_limit_bytes", "The recorded limit", labels=labels)
    populated = Gauge("maxmemd_populated_bytes", "What Xen counts as the domain's", labels=labels)
    target = Gauge("maxmemd_target_bytes", "memory/target", labels=labels)
    in_force = Gauge("maxmemd_in_force", "1 when Xen holds the limit", labels=labels)
    over = Gauge("maxmemd_over_limit", "1 while the guest holds more", labels=labels)
    above = Gauge(
        "maxmemd_target_above_limit", "1 while the target has no room in max-mem", labels=labels
    )
    unreadable = Gauge(
        "maxmemd_unreadable_nodes", "Nodes in xenstore that are no amounts", labels=labels
    )
    fight = Gauge("maxmemd_fight", "1 while another program fights the limit", labels=labels)
    shown = [view for view in domains if view.record and view.xen and view.push]
    for view in shown[:MOST_DOMAINS]:
        assert view.record and view.xen and view.push  # noqa: S101, PT018 - for the type checker
        names = [view.uuid, view.name or ""]
        limit.add_metric(names, _bytes(view.record.limit))
        populated.add_metric(names, _bytes(Memory.of_pages(view.xen.tot_pages)))
        in_force.add_metric(names, float(view.push.state in IN_FORCE))
        over.add_metric(names, float(view.push.state is PushState.OVER_LIMIT))
        fight.add_metric(names, float(view.fight is not None))
        above.add_metric(names, float(view.target_above is not None))
        unreadable.add_metric(names, len(view.store.unreadable))
        if view.store.target is not None:
            target.add_metric(names, _bytes(view.store.target))
    here = Gauge("maxmemd_domains", "Domains here that have a record", len(shown))
    return [here, limit, populated, target, in_force, over, above, unreadable, fight]


def _bytes(amount: Memory) -> float:
    """Return bytes; unlimited is infinite."""
    return float("inf") if amount.max_pages == UNLIMITED_PAGES else amount.kib * 1024.0
