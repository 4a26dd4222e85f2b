"""What Xen's public headers are asked, as expressions of C, and what we take for the answer."""

from maxmemd.policy import endings
from maxmemd.units import DOMID_FIRST_RESERVED
from maxmemd.xen import abi, xs_wire

INFO = "offsetof(struct xen_domctl_getdomaininfo, {})"
SYSCTL = "offsetof(struct xen_sysctl, u.{})"

NUMBERS = [
    ("__HYPERVISOR_memory_op", 12, abi.MEMORY_OP),
    ("__HYPERVISOR_xen_version", 17, abi.XEN_VERSION),
    ("__HYPERVISOR_sysctl", 35, abi.SYSCTL),
    ("__HYPERVISOR_domctl", 36, abi.DOMCTL),
    ("DOMID_FIRST_RESERVED", 0x7FF0, DOMID_FIRST_RESERVED),
    ("XEN_DOMCTL_getdomaininfo", 5, abi.GETDOMAININFO),
    ("XEN_DOMCTL_max_mem", 11, abi.MAX_MEM),
    ("XEN_SYSCTL_physinfo", 3, abi.PHYSINFO),
    ("XEN_SYSCTL_getdomaininfolist", 6, abi.GETDOMAININFOLIST),
    ("XENMEM_set_pod_target", 16, abi.SET_POD_TARGET),
    ("XENMEM_get_sharing_freed_pages", 18, abi.SHARING_FREED),
    ("XENMEM_get_sharing_shared_pages", 19, abi.SHARING_SHARED),
    ("XENVER_version", 0, abi.VERSION),
    ("XENVER_extraversion", 1, abi.EXTRAVERSION),
    ("SHUTDOWN_poweroff", 0, endings.POWEROFF),
    ("SHUTDOWN_reboot", 1, endings.REBOOT),
    ("SHUTDOWN_suspend", 2, endings.SUSPEND),
    ("SHUTDOWN_crash", 3, endings.CRASH),
    ("SHUTDOWN_watchdog", 4, endings.WATCHDOG),
    ("SHUTDOWN_soft_reset", 5, endings.SOFT_RESET),
    ("XS_DIRECTORY", 1, xs_wire.DIRECTORY),
    ("XS_READ", 2, xs_wire.READ),
    ("XS_GET_PERMS", 3, xs_wire.GET_PERMS),
    ("XS_WATCH", 4, xs_wire.WATCH),
    ("XS_UNWATCH", 5, xs_wire.UNWATCH),
    ("XS_TRANSACTION_START", 6, xs_wire.TRANSACTION_START),
    ("XS_TRANSACTION_END", 7, xs_wire.TRANSACTION_END),
    ("XS_WRITE", 11, xs_wire.WRITE),
    ("XS_RM", 13, xs_wire.RM),
    ("XS_SET_PERMS", 14, xs_wire.SET_PERMS),
    ("XS_WATCH_EVENT", 15, xs_wire.WATCH_EVENT),
    ("XS_ERROR", 16, xs_wire.ERROR),
    ("XS_DIRECTORY_PART", 22, xs_wire.DIRECTORY_PART),
    ("XENSTORE_PAYLOAD_MAX", 4096, xs_wire.PAYLOAD_MAX),
]
"""What the header calls it, what it was there in Xen 4.14 and ever since, and ours."""

FIELDS = {
    "domain": 0,
    "flags": 4,
    "tot_pages": 8,
    "max_pages": 16,
    "outstanding_pages": 24,
    "shr_pages": 32,
    "paged_pages": 40,
    "cpu_time": 56,
    "nr_online_vcpus": 64,
    "max_vcpu_id": 68,
    "ssidref": 72,
    "handle": 76,
    "cpupool": 92,
}
"""The fields of an entry that abi.INFO takes, and deploy/interpose/domain.c some of."""

FLAGS = {
    "XEN_DOMINF_dying": 1 << 0,
    "XEN_DOMINF_hvm_guest": 1 << 1,
    "XEN_DOMINF_shutdown": 1 << 2,
    "XEN_DOMINF_paused": 1 << 3,
    "XEN_DOMINF_blocked": 1 << 4,
    "XEN_DOMINF_running": 1 << 5,
    "XEN_DOMINF_shutdownshift": 16,
    "XEN_DOMINF_shutdownmask": 255,
}
"""The flags that abi.facts_of reads; tests/xen/test_abi.py shows that it reads these."""

WIRE = {
    "sizeof(struct xsd_sockmsg)": xs_wire.HEADER.size,
    "offsetof(struct xsd_sockmsg, req_id)": 4,
    "offsetof(struct xsd_sockmsg, tx_id)": 8,
    "offsetof(struct xsd_sockmsg, len)": 12,
}

LIBXL = {
    "offsetof(libxl_asyncop_how, callback)": 0,
    "offsetof(libxl_asyncop_how, u.for_event)": 8,
    "offsetof(libxl_asyncop_how, u.for_callback)": 8,
    "sizeof(libxl_asyncop_how)": 16,
    "(unsigned)-ERROR_FAIL": 3,
    "(unsigned)-ERROR_INVAL": 6,
    "(unsigned)-ERROR_LOCK_FAIL": 15,
    "XTL_ERROR": 8,
}
"""What deploy/interpose/ has in libxl.c, intent.h and logger.c."""

UNIQUE_ID = {
    "XEN_DOMCTL_get_domain_state": abi.GET_DOMAIN_STATE,
    "offsetof(struct xen_domctl, u.get_domain_state.unique_id)": abi.STATE.size - 8,
}
"""What headers of Xen 4.21 and later have of it."""

OLD_XENCTRL = {
    "offsetof(xc_dominfo_t, domid)": 0,
    "offsetof(xc_dominfo_t, max_memkb)": 64,
}
"""What deploy/interpose/xc.c reads of a structure that ended with Xen 4.17."""

CALLS = {
    "xencall_open": "xencall_handle *(xentoollog_logger *, unsigned)",
    "xencall_close": "int(xencall_handle *)",
    "xencall_alloc_buffer": "void *(xencall_handle *, size_t)",
    "xencall1": "int(xencall_handle *, unsigned int, uint64_t)",
    "xencall2": "int(xencall_handle *, unsigned int, uint64_t, uint64_t)",
    "xc_domain_setmaxmem": "int(xc_interface *, uint32_t, uint64_t)",
    "xc_domain_getinfolist": "int(xc_interface *, uint32_t, unsigned int, xc_domaininfo_t *)",
    "xc_domain_populate_physmap_exact": "int(xc_interface *, uint32_t, unsigned long,"
    " unsigned int, unsigned int, xen_pfn_t *)",
    "xtl_log": "void(xentoollog_logger *, xentoollog_level, int, const char *, const char *, ...)",
    "libxl_ctx_alloc": "int(libxl_ctx **, int, unsigned, xentoollog_logger *)",
    "libxl_ctx_free": "int(libxl_ctx *)",
    "libxl_domain_setmaxmem": "int(libxl_ctx *, uint32_t, uint64_t)",
    "libxl_set_memory_target": "int(libxl_ctx *, uint32_t, int64_t, int, int)",
    "libxl_domain_config_to_json": "char *(libxl_ctx *, libxl_domain_config *)",
    "libxl_domain_create_new": "int(libxl_ctx *, libxl_domain_config *, uint32_t *,"
    " const libxl_asyncop_how *, const libxl_asyncprogress_how *)",
    "libxl_domain_create_restore": "int(libxl_ctx *, libxl_domain_config *, uint32_t *, int, int,"
    " const libxl_domain_restore_params *, const libxl_asyncop_how *,"
    " const libxl_asyncprogress_how *)",
}
"""The functions that xen/xencall.py calls, and that deploy/interpose/ calls or replaces."""

OLD_CALLS = {"xc_domain_getinfo": "int(xc_interface *, uint32_t, unsigned int, xc_dominfo_t *)"}
NEW_CALLS = {"xc_domain_getinfo_single": "int(xc_interface *, uint32_t, xc_domaininfo_t *)"}
"""How a device model reads its maximum, until 4.17 and since 4.18."""


def layouts(sysctl_version: int) -> dict[str, int]:
    """Return sizes and offsets of the hypercalls' structures, as abi.py has them."""
    totals, listing = abi.totals_offset(sysctl_version), SYSCTL.format("getdomaininfolist.{}")
    return {
        "sizeof(struct xen_domctl)": abi.DOMCTL_SIZE,
        "offsetof(struct xen_domctl, interface_version)": 4,
        "offsetof(struct xen_domctl, domain)": 8,
        "offsetof(struct xen_domctl, u)": abi.DOMCTL_BODY,
        "offsetof(struct xen_domctl, u.max_mem.max_memkb)": abi.DOMCTL_HEAD.size - 8,
        "sizeof(struct xen_sysctl)": abi.SYSCTL_SIZE,
        "offsetof(struct xen_sysctl, interface_version)": abi.SYSCTL_HEAD.size - 4,
        SYSCTL.format("physinfo.total_pages"): totals,
        SYSCTL.format("physinfo.free_pages"): totals + 8,
        SYSCTL.format("physinfo.scrub_pages"): totals + 16,
        SYSCTL.format("physinfo.outstanding_pages"): totals + 24,
        listing.format("first_domain"): 8,
        listing.format("max_domains"): 12,
        listing.format("buffer"): 16,
        listing.format("num_domains"): abi.LIST.size - 4,
        "sizeof(struct xen_pod_target)": abi.POD_TARGET_SIZE,
        "offsetof(struct xen_pod_target, target_pages)": 0,
        "offsetof(struct xen_pod_target, domid)": 32,
        "sizeof(xen_extraversion_t)": abi.EXTRAVERSION_SIZE,
        "sizeof(xen_domain_handle_t)": 16,
        "sizeof(struct xen_domctl_getdomaininfo) % 8": 0,
        "sizeof(struct xen_domctl_getdomaininfo) <= 1024": 1,
        **{INFO.format(name): offset for name, offset in FIELDS.items()},
    }
