"""The metrics of each domain as text, the same in OpenMetrics and in Prometheus' older format.

Written here and not by prometheus-client, which takes five times as long for each domain.
"""

from collections.abc import Callable, Sequence
from typing import Any

from maxmemd.api.reading.strides import Reading
from maxmemd.arbiter.messages import DomainView
from maxmemd.policy.reference import printable
from maxmemd.policy.states import IN_FORCE, PushState
from maxmemd.units import UNLIMITED_PAGES, Memory

GAUGES: Sequence[tuple[str, str, Callable[[Any], float | None]]] = (
    ("maxmemd_limit_bytes", "The recorded limit", lambda view: _bytes(view.record.limit)),
    (
        "maxmemd_populated_bytes",
        "What Xen counts as the domain's",
        lambda view: _bytes(Memory.of_pages(view.xen.tot_pages)),
    ),
    ("maxmemd_target_bytes", "memory/target", lambda view: _bytes(view.store.target)),
    ("maxmemd_in_force", "1 when Xen holds the limit", lambda view: view.push.state in IN_FORCE),
    (
        "maxmemd_over_limit",
        "1 while the guest holds more",
        lambda view: view.push.state is PushState.OVER_LIMIT,
    ),
    (
        "maxmemd_target_above_limit",
        "1 while the target has no room in max-mem",
        lambda view: view.target_above is not None,
    ),
    (
        "maxmemd_unreadable_nodes",
        "Nodes in xenstore that are no amounts",
        lambda view: len(view.store.unreadable),
    ),
    (
        "maxmemd_fight",
        "1 while another program fights the limit",
        lambda view: view.fight is not None,
    ),
)
"""Name, help, and the value of a domain that has a record and is here; None is no sample."""

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def to_text(views: Sequence[DomainView], reading: Reading) -> bytes:
    """Return the gauges of these domains, each of which has a record and is here."""
    from prometheus_client.utils import floatToGoString

    written: Callable[[float], str] = floatToGoString

    samples: list[list[str]] = [[] for _ in GAUGES]
    for view in views:
        name = printable(view.name or "").translate(_ESCAPES)
        labels = f'{{name="{name}",uuid="{view.uuid}"}}'
        for (gauge, _, value_of), lines in zip(GAUGES, samples, strict=True):
            value = value_of(view)
            if value is not None:
                lines.append(f"{gauge}{labels} {written(value)}\n")
        reading.rest()
    texts = []
    for (gauge, told, _), lines in zip(GAUGES, samples, strict=True):
        head = f"# HELP {gauge} {told}\n# TYPE {gauge} gauge\n"
        texts.append("".join((head, *lines)).encode(errors="replace"))
    return b"".join(texts)


def _bytes(amount: Memory | None) -> float | None:
    """Return bytes; unlimited is infinite."""
    if amount is None:
        return None
    return float("inf") if amount.max_pages == UNLIMITED_PAGES else amount.kib * 1024.0
