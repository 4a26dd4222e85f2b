"""Numbers and structure layouts of Xen's hypercalls on x86-64; no code that calls them.

The same from Xen 4.14 to 4.22 but for the interface version, the size of a list entry, and the
offset of the totals in physinfo (A2). Compared with the public headers of 4.17 and 4.20
(tests/xen/test_public_headers.py); read from Xen's source for the others.
"""

import struct

from maxmemd.policy.facts import XenFacts

DOMCTL_VERSIONS = range(0x12, 0x19)
"""XEN_DOMCTL_INTERFACE_VERSION of Xen 4.14 to 4.22 (xen/include/public/domctl.h)."""

SYSCTL_VERSIONS = range(0x12, 0x17)
"""XEN_SYSCTL_INTERFACE_VERSION of Xen 4.14 to 4.22, and 0x12 (xen/include/public/sysctl.h)."""


MEMORY_OP, XEN_VERSION, SYSCTL, DOMCTL = 12, 17, 35, 36
"""__HYPERVISOR_memory_op, _xen_version, _sysctl, _domctl (xen/include/public/xen.h)."""

GETDOMAININFO, MAX_MEM = 5, 11
"""XEN_DOMCTL_getdomaininfo, XEN_DOMCTL_max_mem."""

GET_DOMAIN_STATE, STABLE = 90, 0
"""XEN_DOMCTL_get_domain_state, from Xen 4.21 on, and the interface version of a stable call."""

PHYSINFO, GETDOMAININFOLIST = 3, 6
"""XEN_SYSCTL_physinfo, XEN_SYSCTL_getdomaininfolist."""

SET_POD_TARGET, SHARING_FREED, SHARING_SHARED = 16, 18, 19
"""XENMEM_set_pod_target, XENMEM_get_sharing_freed_pages and _shared_pages (public/memory.h)."""

VERSION, EXTRAVERSION = 0, 1
"""XENVER_version, XENVER_extraversion (xen/include/public/version.h)."""

DOMCTL_SIZE, SYSCTL_SIZE, POD_TARGET_SIZE, EXTRAVERSION_SIZE = 144, 136, 40, 16

DOMCTL_HEAD = struct.Struct("<IIH6xQ")
"""struct xen_domctl: cmd, interface_version, domain, u.max_mem.max_memkb."""

DOMCTL_BODY = 16
"""Where the union of struct xen_domctl begins."""

STATE = struct.Struct("<IIH6xHHIQ")
"""struct xen_domctl: cmd, interface_version, domain, u.get_domain_state.state, caps, pad0 and
unique_id; the caller has to leave all but the first three 0."""

SYSCTL_HEAD = struct.Struct("<II")
"""struct xen_sysctl: cmd, interface_version."""

LIST = struct.Struct("<IIH2xIQI")
"""struct xen_sysctl: cmd, interface_version, first_domain, max_domains, buffer, num_domains."""

TOTALS = struct.Struct("<QQQQ")
"""Of struct xen_sysctl_physinfo: total, free, scrub and outstanding pages."""

POD_TARGET = struct.Struct("<Q24xH6x")
"""struct xen_pod_target: target_pages, three numbers that Xen returns, domid."""

INFO_FORMAT = "<H2xIQQQQQ8xQIII16sI"
"""struct xen_domctl_getdomaininfo: domain, flags, tot, max, outstanding, shr and paged pages,
cpu_time, nr_online_vcpus, max_vcpu_id, ssidref, handle, cpupool. Later fields differ."""

INFO = struct.Struct(INFO_FORMAT)

Info = tuple[int, int, int, int, int, int, int, int, int, int, int, bytes, int]


def totals_offset(sysctl_version: int) -> int:
    """Return the offset of TOTALS in struct xen_sysctl.

    arch_capabilities and a pad were put before them with 0x15, Xen 4.17 (commit 6b2b9b3405, "x86:
    report Interrupt Controller Virtualization capabilities").
    """
    return 48 if sysctl_version >= 0x15 else 40


def facts_of(info: Info, uuid: str) -> XenFacts:
    """Return unpacked INFO as facts; the flags are XEN_DOMINF_* (xen/include/public/domctl.h)."""
    domid, flags, tot, most, claimed, shared, paged, cpu, online, vcpu, ssid, _, pool = info
    return XenFacts(
        domid,
        uuid,
        tot,
        most,
        claimed,
        shared,
        paged,
        flags & 1 != 0,  # dying
        flags & 4 != 0,  # shutdown
        flags & 8 != 0,  # paused
        flags & 16 != 0,  # blocked
        flags & 32 != 0,  # running
        flags & 2 != 0,  # hvm
        flags >> 16 & 255,  # shutdown_reason
        cpu,
        online,
        vcpu,
        ssid,
        pool,
    )


def uuid_of(handle: bytes) -> str:
    """Return xen_domain_handle_t, 16 bytes, as text."""
    h = handle.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
