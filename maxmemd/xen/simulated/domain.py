"""One domain in the simulated Xen."""

from dataclasses import dataclass
from typing import Literal

from maxmemd.policy.facts import XenFacts

Kind = Literal["pv", "pvh", "hvm"]

_CPU_NS_PER_S = 20_000_000


@dataclass(slots=True)
class Domain:
    """A domain. `facts` caches its facts as of `facts_s`; None after a change."""

    domid: int
    uuid: str
    kind: Kind
    max_pages: int = 0
    tot_pages: int = 0
    outstanding: int = 0
    pod_target: int = 0
    paused: bool = True
    shutdown: bool = False
    shutdown_reason: int = 0
    dying: bool = False
    dead: bool = False
    cpu_ns: int = 0
    running_since_s: int = 0
    unique_id: int | None = None
    facts: XenFacts | None = None
    facts_s: int = 0

    @property
    def runs(self) -> bool:
        """Whether its vcpus may run."""
        return not (self.paused or self.shutdown or self.dying)

    def cpu_ns_at(self, now_s: int) -> int:
        """Return its CPU time; a running guest uses a fiftieth of it."""
        if not self.runs:
            return self.cpu_ns
        return self.cpu_ns + (now_s - self.running_since_s) * _CPU_NS_PER_S

    def facts_at(self, now_s: int) -> XenFacts:
        """Return its facts, made once a second or after a change: this is the hot path."""
        if self.facts is None or self.facts_s != now_s:
            self.facts, self.facts_s = self._make_facts(now_s), now_s
        return self.facts

    def _make_facts(self, now_s: int) -> XenFacts:
        return XenFacts(  # by position: names cost a quarter of the time
            self.domid,
            self.uuid,
            self.tot_pages,
            self.max_pages,
            self.outstanding,
            0,
            0,
            self.dead,
            self.shutdown,
            self.paused,
            self.runs and self.domid != 0,
            self.domid == 0,
            self.kind != "pv",
            self.shutdown_reason,
            self.cpu_ns_at(now_s),
            unique_id=self.unique_id,
        )
