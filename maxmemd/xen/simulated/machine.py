"""The simulated Xen: domains and the rules of their memory (A1, A3, A4, A6-A9, A11).

Amounts are 4 KiB pages, as in Xen. Only these methods change a domain, under one lock.
"""

from collections.abc import Callable, Iterator
from errno import E2BIG, EEXIST, EINVAL, ENOMEM, EPERM, ESRCH
from itertools import chain
from threading import RLock

from maxmemd.errors import HypervisorError
from maxmemd.policy.facts import DOM0_UUID, HostFacts, XenFacts
from maxmemd.units import DOMID_FIRST_RESERVED, UNLIMITED_PAGES, Memory
from maxmemd.xen.simulated.domain import Domain, Kind

NAME = "simulated Xen"

_BOOT_NS = 1_000_000
FIRST_UNIQUE_ID = 2**63 + 5
"""Xen's are numbers of 64 bits without a sign, and follow no order."""


class Machine:
    """One host's memory and domains. Any thread may call anything.

    `now_s` is the host's uptime in whole seconds, by which CPU time is counted. With `unique_ids`
    it is as Xen 4.21 and later, else as an earlier one.
    """

    def __init__(
        self, total: Memory, dom0: Memory, lock: RLock, *, unique_ids: bool = False
    ) -> None:
        self._lock = lock
        self._total = self._free = total.pages
        self._claimed = 0
        self.now_s = 0
        self._rover = 0
        self._last_unique_id = FIRST_UNIQUE_ID - 1 if unique_ids else None
        self._domains: dict[int, Domain] = {}
        self._add(0, DOM0_UUID, "pv")
        self.set_max(0, UNLIMITED_PAGES)
        self.populate(0, dom0.pages)
        self.unpause(0)

    # reading

    def domain(self, domid: int) -> XenFacts:
        """Return one domain. Raises DomainGone (A3)."""
        with self._lock:
            return self._find("read", domid).facts_at(self.now_s)

    def domains(self) -> list[XenFacts]:
        """Return every domain by rising domid, including zombies."""
        with self._lock:
            table, now_s = self._domains, self.now_s
            return [table[domid].facts_at(now_s) for domid in sorted(table)]

    def host(self) -> HostFacts:
        """Return the host's totals."""
        with self._lock:
            return HostFacts(self._total, self._free, 0, self._claimed, NAME)

    def pod_target(self, domid: int) -> int:
        """Return the populate-on-demand target in pages. Raises DomainGone."""
        with self._lock:
            return self._find("read", domid).pod_target

    # memory

    def set_max(self, domid: int, pages: int) -> None:
        """Set max_pages, saturated; below tot_pages is accepted, of zombies too (A1).

        Xen does not record who did it (A7). Source: xen/common/domctl.c:XEN_DOMCTL_max_mem.
        """
        with self._lock:
            domain = self._change("set max_pages", domid)
            domain.max_pages = min(pages, UNLIMITED_PAGES)

    def set_pod_target(self, domid: int, pages: int) -> None:
        """Set the PoD target: EINVAL above max_pages, or of a PV domain (A9).

        Source: xen/arch/x86/mm.c:XENMEM_set_pod_target.
        """
        with self._lock:
            domain = self._find("set the PoD target", domid)
            if domain.kind == "pv" or pages > domain.max_pages:
                raise HypervisorError.of("set the PoD target", domid, EINVAL)
            domain.pod_target = pages

    def claim(self, domid: int, pages: int) -> None:
        """Claim host memory for a build; 0 ends the claim.

        Source: xen/common/page_alloc.c:domain_set_outstanding_pages.
        """
        with self._lock:
            domain = self._change("claim memory", domid)
            if pages == 0:
                self._claimed -= domain.outstanding
                domain.outstanding = 0
                return
            if domain.outstanding or not domain.tot_pages < pages <= domain.max_pages:
                raise HypervisorError.of("claim memory", domid, EINVAL)
            outstanding = pages - domain.tot_pages
            if outstanding > self._free - self._claimed:
                raise HypervisorError.of("claim memory", domid, ENOMEM)
            domain.outstanding = outstanding
            self._claimed += outstanding

    def populate(self, domid: int, pages: int) -> None:
        """Give a domain pages: all of them, or none and Xen's error.

        ENOMEM beyond the host's free memory, then EINVAL while it dies, EPERM when it already
        holds more than max_pages, E2BIG when it would. Source: xen/common/page_alloc.c:
        assign_pages, after the allocation from the heap.
        """
        with self._lock:
            domain = self._change("populate", domid)
            if pages > self._available(domain):
                raise HypervisorError.of("populate", domid, ENOMEM)
            if domain.dying:
                raise HypervisorError.of("populate", domid, EINVAL)
            if domain.tot_pages > domain.max_pages:
                raise HypervisorError.of("populate", domid, EPERM)
            if pages > domain.max_pages - domain.tot_pages:
                raise HypervisorError.of("populate", domid, E2BIG)
            self._assign(domain, pages)

    def balloon(self, domid: int, wanted: Callable[[int], int]) -> int:
        """Move a running domain to the pages it wants, as far as it goes; return what it holds.

        A guest that is refused a page stays where it is, without any error.
        """
        with self._lock:
            domain = self._change("balloon", domid)
            if not domain.runs:
                return domain.tot_pages
            pages = max(0, wanted(domain.tot_pages)) - domain.tot_pages
            headroom = max(0, domain.max_pages - domain.tot_pages)
            self._assign(domain, min(pages, headroom, self._available(domain)))
            return domain.tot_pages

    # lives

    def create(self, uuid: str, kind: Kind, domid: int | None = None) -> int:
        """Make a paused domain whose maximum is 0 (A4); return its domid.

        Domids rise, wrap at DOMID_FIRST_RESERVED and are reused only then (A6). Several domains may
        have the same UUID. Source: xen/common/domctl.c:XEN_DOMCTL_createdomain.
        """
        with self._lock:
            if domid is None:
                self._rover = domid = next(self._unused_domids(), 0)
            if domid in self._domains:
                raise HypervisorError.of("create", domid, EEXIST if domid else ENOMEM)
            self._add(domid, uuid, kind)
            return domid

    def pause(self, domid: int) -> None:
        """Stop a domain's vcpus."""
        with self._lock:
            domain = self._change("pause", domid)
            domain.cpu_ns = domain.cpu_ns_at(self.now_s)
            domain.paused = True

    def unpause(self, domid: int) -> None:
        """Let a domain's vcpus run: it has used CPU time from now on."""
        with self._lock:
            domain = self._change("unpause", domid)
            domain.cpu_ns = domain.cpu_ns_at(self.now_s) + _BOOT_NS
            domain.running_since_s = self.now_s
            domain.paused = False

    def shut_down(self, domid: int, reason: int) -> None:
        """Shut the guest down; the domain, its memory and its maximum stay (A5)."""
        with self._lock:
            domain = self._change("shut down", domid)
            domain.cpu_ns = domain.cpu_ns_at(self.now_s)
            domain.shutdown, domain.shutdown_reason = True, reason

    def kill(self, domid: int) -> None:
        """Start destroying a domain: it gets no more pages, but Xen does not list it as dying yet.

        Source: xen/common/domain.c:domain_kill, DOMDYING_dying.
        """
        with self._lock:
            domain = self._change("destroy", domid)
            self.claim(domid, 0)
            domain.cpu_ns = domain.cpu_ns_at(self.now_s)
            domain.dying = True

    def bury(self, domid: int) -> None:
        """Free a dying domain's pages: it is a zombie, listed as dying, until `release`."""
        with self._lock:
            domain = self._change("destroy", domid)
            self._assign(domain, -domain.tot_pages)
            domain.dead = True

    def release(self, domid: int) -> None:
        """Remove a zombie, as when its last reference is dropped."""
        with self._lock:
            self._find("release", domid)
            del self._domains[domid]

    # details

    def _find(self, what: str, domid: int) -> Domain:
        domain = self._domains.get(domid)
        if domain is None:
            raise HypervisorError.of(what, domid, ESRCH)
        return domain

    def _change(self, what: str, domid: int) -> Domain:
        domain = self._find(what, domid)
        domain.facts = None
        return domain

    def _add(self, domid: int, uuid: str, kind: Kind) -> None:
        if self._last_unique_id is not None:
            self._last_unique_id += 1
        self._domains[domid] = Domain(domid, uuid, kind, unique_id=self._last_unique_id)

    def _unused_domids(self) -> Iterator[int]:
        after, before = range(self._rover + 1, DOMID_FIRST_RESERVED), range(1, self._rover + 1)
        return (domid for domid in chain(after, before) if domid not in self._domains)

    def _available(self, domain: Domain) -> int:
        """Return the pages that this domain could get: free and not claimed by others."""
        return self._free - (self._claimed - domain.outstanding)

    def _assign(self, domain: Domain, pages: int) -> None:
        """Move pages between the host and a domain; a claim shrinks by what it covers."""
        covered = min(domain.outstanding, max(0, pages))
        domain.outstanding -= covered
        self._claimed -= covered
        domain.tot_pages += pages
        self._free -= pages
