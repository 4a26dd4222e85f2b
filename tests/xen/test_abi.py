"""What Xen writes is read field by field; test_public_headers.py has what its headers say."""

import struct

import pytest

from maxmemd.policy.facts import XenFacts
from maxmemd.xen import abi

HANDLE = bytes(range(16))
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_sizes_are_those_of_the_headers() -> None:
    """What is packed ends where the header's last field that we use ends."""
    assert abi.INFO.size == 96
    assert abi.DOMCTL_HEAD.size == abi.DOMCTL_BODY + 8
    assert abi.LIST.size == 28
    assert abi.POD_TARGET.size == abi.POD_TARGET_SIZE == 40


@pytest.mark.parametrize(("version", "offset"), [(0x13, 40), (0x14, 40), (0x15, 48), (0x16, 48)])
def test_physinfo_moved_with_4_17(version: int, offset: int) -> None:
    """The totals come 8 bytes later from sysctl version 0x15 on."""
    assert abi.totals_offset(version) == offset


@pytest.mark.parametrize(
    ("bit", "name"),
    [(0, "dying"), (1, "hvm"), (2, "shutdown"), (3, "paused"), (4, "blocked"), (5, "running")],
)
def test_each_flag_has_its_name(bit: int, name: str) -> None:
    """XEN_DOMINF_* bits become the facts of their names, and no others."""
    facts = abi.facts_of(entry(flags=1 << bit), UUID)
    flags = ("dying", "hvm", "shutdown", "paused", "blocked", "running")
    assert {flag for flag in flags if getattr(facts, flag)} == {name}


def test_an_entry_is_read_field_by_field() -> None:
    """Every number lands in its own field; the reason of a shutdown is the third byte of flags."""
    expected = XenFacts(
        7, UUID, 10, 20, 30, 40, 50, shutdown=True, shutdown_reason=3, cpu_time_ns=60,
        vcpus_online=2, max_vcpu_id=1, ssidref=9, cpupool=4,
    )  # fmt: skip
    assert abi.facts_of(entry(flags=4 | 3 << 16), abi.uuid_of(HANDLE)) == expected


def entry(flags: int) -> abi.Info:
    """Unpack an entry as Xen writes it (struct xen_domctl_getdomaininfo)."""
    numbers = struct.pack("<QQQQQQQ", 10, 20, 30, 40, 50, 0xFFFFF, 60)
    raw = struct.pack("<HHI", 7, 0, flags) + numbers + struct.pack("<III", 2, 1, 9) + HANDLE
    info: abi.Info = abi.INFO.unpack(raw + struct.pack("<I", 4))
    return info
