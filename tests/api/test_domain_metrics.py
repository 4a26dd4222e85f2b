"""What is written of each domain is exactly what prometheus-client would write."""

import pytest
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics

from maxmemd.api import domain_metrics
from maxmemd.api.metrics import END
from maxmemd.api.reading.strides import Reading, Strides
from maxmemd.arbiter.messages import DomainView, PushStatus
from maxmemd.pacing import Deadline
from maxmemd.policy.components import MAX_MEM, Component, Record
from maxmemd.policy.facts import StoreFacts, UnreadableNode, XenFacts
from maxmemd.policy.states import PushState
from maxmemd.units import UNLIMITED, Memory


def view(number: int, name: str | None, limit: Memory, target: Memory | None) -> DomainView:
    """Return a domain."""
    uuid = f"00000000-0000-4000-8000-{number:012}"
    return DomainView(
        uuid,
        Record(uuid, 1, {MAX_MEM: Component(limit, 1)}),
        number,
        name,
        push=PushStatus(list(PushState)[number % len(PushState)], 1, 1, None, None),
        xen=XenFacts(number, uuid, 1234 * number, 1),
        store=StoreFacts(
            name, target=target, unreadable=(UnreadableNode("memory/target", "x"),) * (number % 3)
        ),
    )


VIEWS = [
    view(1, "web", Memory(kib=717824), Memory(kib=524288)),
    view(2, None, UNLIMITED, None),
    view(3, 'we"ird\\ \\n', Memory(kib=0), Memory(kib=4)),
    view(4, "Grüße 日本", Memory(kib=2**40), None),
]


@pytest.mark.parametrize("module", [exposition, openmetrics])
def test_the_text_is_prometheus_clients(module: object) -> None:
    """In both formats, for names that have to be escaped, and for numbers of every size."""

    class Families:
        def collect(self) -> list[GaugeMetricFamily]:
            found = []
            for gauge, told, value_of in domain_metrics.GAUGES:
                family = GaugeMetricFamily(gauge, told, labels=["uuid", "name"])
                for each in VIEWS:
                    value = value_of(each)
                    if value is not None:
                        family.add_metric([each.uuid, each.name or ""], value)
                found.append(family)
            return found

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families())
    wanted: bytes = module.generate_latest(registry)  # type: ignore[attr-defined]
    found = domain_metrics.to_text(VIEWS, Reading(Deadline(60.0), Strides()))
    assert found.decode().splitlines() == wanted.removesuffix(END).decode().splitlines()
