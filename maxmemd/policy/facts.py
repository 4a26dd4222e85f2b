"""What Xen and xenstore say of a host and its domains, as frozen values."""

from dataclasses import dataclass
from typing import NamedTuple

from maxmemd.units import Memory

TARGET, STATIC_MAX, VIDEORAM = "memory/target", "memory/static-max", "memory/videoram"
"""The nodes of a domain's memory, below /local/domain/N (xen/docs/misc/xenstore-paths.pandoc)."""

DOM0_UUID = "00000000-0000-0000-0000-000000000000"


def may_be_one(unique_id: int | None, other: int | None) -> bool:
    """Whether two unique IDs may be those of one domain; one that is not known may be any (A11)."""
    return unique_id is None or other is None or unique_id == other


class XenFacts(NamedTuple):
    """One entry of getdomaininfo (xen/include/public/domctl.h:xen_domctl_getdomaininfo).

    Pages are 4 KiB. `hvm` is true for HVM and PVH guests. `cpu_time_ns` is summed over vcpus.
    `shutdown_reason` is meaningful only when `shutdown`. `unique_id` is a number that no other
    domain has had since the host's boot; None before Xen 4.21 (A11).
    """

    domid: int
    uuid: str
    tot_pages: int
    max_pages: int
    outstanding_pages: int = 0
    shared_pages: int = 0
    paged_pages: int = 0
    dying: bool = False
    shutdown: bool = False
    paused: bool = False
    blocked: bool = False
    running: bool = False
    hvm: bool = False
    shutdown_reason: int = 0
    cpu_time_ns: int = 0
    vcpus_online: int = 1
    max_vcpu_id: int = 0
    ssidref: int = 0
    cpupool: int = 0
    unique_id: int | None = None

    def is_domain(self, uuid: str, unique_id: int | None) -> bool:
        """Whether this is the domain that had this UUID and unique ID (A6, A11)."""
        return self.uuid == uuid and may_be_one(self.unique_id, unique_id)

    @property
    def managed(self) -> bool:
        """Whether this is a domain that the ledger can name: it has a UUID, or it is dom0 (A6)."""
        return self.uuid != DOM0_UUID or self.domid == 0

    @property
    def started(self) -> bool:
        """Whether it was ever run: a domain that is being built is paused and has used no CPU."""
        return not self.paused or self.cpu_time_ns > 0

    @property
    def is_still(self) -> bool:
        """Whether its vcpus cannot run: nothing that is in the guest can do anything."""
        return self.paused or self.shutdown or self.dying

    def is_being_destroyed(self, *, had_path: bool, has_path: bool) -> bool:
        """Whether its toolstack is destroying it, though Xen does not say so yet.

        It is paused first, then xenstore forgets it, and then it is taken apart, page after page;
        Xen calls it dying only when that is done (libxl_domain.c:libxl__destroy_domid,
        xen/common/domain.c:domain_kill). One that runs, or that xenstore never knew, lives.
        """
        return had_path and not has_path and self.is_still


class UnreadableNode(NamedTuple):
    """A node below /local/domain/N that is there and is no amount; `value` fits on a line."""

    node: str
    value: str

    def __str__(self) -> str:
        return f"{self.node} in xenstore is '{self.value}', which is no amount"


class StoreFacts(NamedTuple):
    """What xenstore says of a domain's memory; None where there is no such node or no number.

    `target` and `static_max` are /local/domain/N/memory/{target,static-max}; `videoram` is
    memory/videoram and counts as 0 when it is absent or negative. Target excludes video RAM.
    `has_path` is false where there is no /local/domain/N. What is there and is no amount is in
    `unreadable`: it must not be taken for absent where a rule depends on it.
    """

    name: str | None = None
    target: Memory | None = None
    static_max: Memory | None = None
    videoram: Memory = Memory(kib=0)
    has_path: bool = True
    unreadable: tuple[UnreadableNode, ...] = ()

    def unreadable_at(self, node: str) -> UnreadableNode | None:
        """Return what stands in a node in place of an amount; None where it is readable."""
        return next((found for found in self.unreadable if found.node == node), None)


NO_PATH = StoreFacts(has_path=False)
"""What xenstore says of a domain that it does not know."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The host's memory in 4 KiB pages (XEN_SYSCTL_physinfo) and the hypervisor's name.

    `free_pages` includes pages not yet scrubbed only in `scrub_pages`; `outstanding_pages` are
    claimed by builds that run. `hypervisor` is e.g. "Xen 4.17.5" or "simulated Xen".
    """

    total_pages: int
    free_pages: int
    scrub_pages: int
    outstanding_pages: int
    hypervisor: str
    sharing_freed_pages: int = 0
    sharing_used_pages: int = 0
