"""Replies as the daemon makes them: built by the wire models, so that they stay true."""

from typing import Any

from maxmemd.wire import daemon_replies, replies

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def push(state: Any = "applied", **more: Any) -> replies.Push:
    """Return a push of 131328 pages."""
    return replies.Push(**{"state": state, "max_pages": 131328, "seen_pages": 131328, **more})


def decision(**more: Any) -> dict[str, Any]:
    """Return the reply to a granted wish: web, domain 3, 513 MiB, revision 8."""
    given = {
        "uuid": UUID, "domid": 3, "name": "web", "revision": 8, "max_mem_kib": 524288,
        "limit_kib": 525312, "max_pages": 131328, "unlimited": False, "push": push(), **more,
    }  # fmt: skip
    return replies.DecisionReply(**given).model_dump(mode="json")


def xen(**more: Any) -> replies.XenReply:
    """Return what Xen says of a domain of 100 MiB."""
    given = {
        "tot_pages": 25600, "max_pages": 131328, "outstanding_pages": 0, "shared_pages": 0,
        "paged_pages": 0, "hvm": True, "running": False, "blocked": True, "paused": False,
        "shutdown": False, "shutdown_reason": 255, "dying": False, "cpu_time_ns": 12345678901,
        "vcpus_online": 2, "ssidref": 0, "cpupool": 0, **more,
    }  # fmt: skip
    return replies.XenReply(**given)


def domain(**more: Any) -> dict[str, Any]:
    """Return web, domain 3, with a limit of 512 MiB and libxl's slack."""
    parts = [
        replies.ComponentReply(owner="operator", name="max-mem", amount_kib=524288, revision=8),
        replies.ComponentReply(owner="toolstack", name="slack", amount_kib=1024, revision=1),
    ]
    given = {
        "uuid": UUID, "domid": 3, "name": "web", "managed": True, "revision": 8,
        "max_mem_kib": 524288, "limit_kib": 525312, "max_pages": 131328, "unlimited": False,
        "components": parts,
        "recorded_static_max_kib": 524288, "static_max_kib": 524288, "target_kib": 102400,
        "videoram_kib": 0, "building": False, "push": push(), "xen": xen(), **more,
    }  # fmt: skip
    return replies.DomainReply(**given).model_dump(mode="json")


def problem(status: int, code: str, detail: str, **numbers: Any) -> tuple[int, dict[str, Any]]:
    """Return a problem document with its status."""
    urn = f"urn:maxmemd:problem:{code}"
    made = replies.Problem(type=urn, title=code, status=status, detail=detail, code=code, **numbers)
    return status, made.model_dump(mode="json")


UNKNOWN = problem(
    404, "unknown-domain", "cannot find nosuch: no domain is called that", ref="nosuch"
)
BELOW = problem(
    409, "limit-below-target",
    "cannot set max-mem to 10240 KiB: the balloon target is 102400 KiB, 92160 KiB more"
    " (lower the target first, or force)",
    max_mem_kib=10240, target_kib=102400, short_by_kib=92160, uuid=UUID, domid=3, name="web",
)  # fmt: skip
ABOVE = problem(
    409, "target-above-static-max",
    "cannot set the target to 1048576 KiB: static-max is 524288 KiB, 524288 KiB less"
    " (raise it first with mem-max)",
    target_kib=1048576, static_max_kib=524288, uuid=UUID, domid=3, name="web",
)  # fmt: skip
BUSY = problem(503, "arbiter-busy", "cannot answer in time: the queue is full")
HOST = daemon_replies.HostReply(
    hypervisor="Xen 4.17", simulated=False, total_kib=8386560, free_kib=4195328, scrub_kib=0,
    outstanding_kib=2048, sharing_freed_kib=4096, sharing_used_kib=1024, drift="restore",
    floor="target", domains=2, version="0.1.0",
).model_dump(mode="json")  # fmt: skip
