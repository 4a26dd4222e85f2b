"""The layouts that we share with Xen have the sizes and places of its public headers."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from maxmemd.policy import lives
from maxmemd.policy.facts import XenFacts
from maxmemd.units import DOMID_FIRST_RESERVED
from maxmemd.xen import abi

HEADERS = Path("/usr/include/xen")
"""Where Debian's libxen-dev puts the public headers, of Xen 4.17."""
with_headers = pytest.mark.skipif(
    not (HEADERS / "domctl.h").exists() or shutil.which("cc") is None,
    reason="needs libxen-dev and a C compiler",
)

NUMBERS = [
    ("xen.h", "__HYPERVISOR_memory_op", 12, abi.MEMORY_OP),
    ("xen.h", "__HYPERVISOR_xen_version", 17, abi.XEN_VERSION),
    ("xen.h", "__HYPERVISOR_sysctl", 35, abi.SYSCTL),
    ("xen.h", "__HYPERVISOR_domctl", 36, abi.DOMCTL),
    ("xen.h", "DOMID_FIRST_RESERVED", 0x7FF0, DOMID_FIRST_RESERVED),
    ("domctl.h", "XEN_DOMCTL_getdomaininfo", 5, abi.GETDOMAININFO),
    ("domctl.h", "XEN_DOMCTL_max_mem", 11, abi.MAX_MEM),
    ("sysctl.h", "XEN_SYSCTL_physinfo", 3, abi.PHYSINFO),
    ("sysctl.h", "XEN_SYSCTL_getdomaininfolist", 6, abi.GETDOMAININFOLIST),
    ("memory.h", "XENMEM_set_pod_target", 16, abi.SET_POD_TARGET),
    ("memory.h", "XENMEM_get_sharing_freed_pages", 18, abi.SHARING_FREED),
    ("memory.h", "XENMEM_get_sharing_shared_pages", 19, abi.SHARING_SHARED),
    ("version.h", "XENVER_version", 0, abi.VERSION),
    ("version.h", "XENVER_extraversion", 1, abi.EXTRAVERSION),
    ("sched.h", "SHUTDOWN_reboot", 1, lives.REBOOT),
]
"""What the header calls it, what it was there in Xen 4.14 and ever since, and ours."""

LAYOUT = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/memory.h>
#include <xen/sysctl.h>
#include <xen/version.h>
#define INFO(field) offsetof(struct xen_domctl_getdomaininfo, field)
int main(void)
{
    size_t numbers[] = {
        XEN_DOMCTL_INTERFACE_VERSION, XEN_SYSCTL_INTERFACE_VERSION,
        sizeof(struct xen_domctl), sizeof(struct xen_sysctl), sizeof(struct xen_pod_target),
        sizeof(xen_extraversion_t), offsetof(struct xen_domctl, u),
        offsetof(struct xen_sysctl, u.physinfo.total_pages),
        offsetof(struct xen_sysctl, u.getdomaininfolist.num_domains),
        offsetof(struct xen_pod_target, domid),
        INFO(domain), INFO(flags), INFO(tot_pages), INFO(max_pages), INFO(outstanding_pages),
        INFO(shr_pages), INFO(paged_pages), INFO(cpu_time), INFO(nr_online_vcpus),
        INFO(max_vcpu_id), INFO(ssidref), INFO(handle), INFO(cpupool),
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        printf("%zu ", numbers[i]);
    return 0;
}
"""

HANDLE = bytes(range(16))
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_sizes_are_those_of_the_headers() -> None:
    """What is packed ends where the header's last field that we use ends."""
    assert abi.INFO.size == 96
    assert abi.DOMCTL_HEAD.size == abi.DOMCTL_BODY + 8
    assert abi.LIST.size == 28
    assert abi.POD_TARGET.size == abi.POD_TARGET_SIZE == 40


@pytest.mark.parametrize(("name", "number", "ours"), [row[1:] for row in NUMBERS])
def test_a_number_of_ours_is_the_headers(name: str, number: int, ours: int) -> None:
    """A call by a wrong number would do another thing."""
    assert ours == number, name


@with_headers
@pytest.mark.parametrize(("header", "name", "number"), [row[:3] for row in NUMBERS])
def test_the_installed_header_has_that_number(header: str, name: str, number: int) -> None:
    """Where Xen's headers are installed they are consulted."""
    text = (HEADERS / header).read_text()
    [found] = re.findall(rf"^#define {name}\s+(?:xen_mk_uint\()?(\w+)", text, re.MULTILINE)
    assert int(found, 0) == number


@with_headers
def test_the_compiler_lays_the_structures_out_as_we_do(tmp_path: Path) -> None:
    """Sizes and offsets by the installed headers, whose interface versions are among ours."""
    program = tmp_path / "layout"
    command = ["cc", "-x", "c", "-o", str(program), "-"]
    subprocess.run(command, input=LAYOUT, text=True, check=True)
    told = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
    domctl, sysctl, *found = map(int, told.split())
    assert domctl in abi.DOMCTL_VERSIONS
    assert sysctl in abi.SYSCTL_VERSIONS
    assert found == [
        abi.DOMCTL_SIZE, abi.SYSCTL_SIZE, abi.POD_TARGET_SIZE, abi.EXTRAVERSION_SIZE,
        abi.DOMCTL_BODY, abi.totals_offset(sysctl), abi.LIST.size - 4, 32,
        0, 4, 8, 16, 24, 32, 40, 56, 64, 68, 72, 76, 92,
    ]  # fmt: skip


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
