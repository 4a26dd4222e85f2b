"""Xen's public headers say what we say: a compiler is asked, with the headers of each release.

Xen 4.17 and 4.20 are required, as Debian 12 and 13 have them. Another suite's are tested once they
were fetched (`python -m tests.support.xen_headers sid`).
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from maxmemd.xen import abi
from tests.support.process import ROOT
from tests.support.xen_headers import REQUIRED, headers_of, suites
from tests.xen.public_abi import (
    CALLS,
    FLAGS,
    LIBXL,
    NEW_CALLS,
    NUMBERS,
    OLD_CALLS,
    OLD_XENCTRL,
    UNIQUE_ID,
    WIRE,
    layouts,
)

pytestmark = pytest.mark.needs("gcc", "libc6-dev")

VERSIONS = {"bookworm": (0x15, 0x15), "trixie": (0x17, 0x15)}
"""The interface versions of domctl and sysctl in Xen 4.17 and 4.20."""

INCLUDES = """
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <xencall.h>
#include <xenctrl.h>
#include <xentoollog.h>
#include <libxl.h>
#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/version.h>
#include <xen/io/xs_wire.h>
"""


class Headers:
    """A compiler with the headers of one release."""

    def __init__(self, suite: str, directory: Path) -> None:
        self.suite, self.include, self._directory = suite, headers_of(suite), directory

    def values_of(self, expressions: Iterable[str]) -> dict[str, int]:
        """Return what each expression is, by a compiled program."""
        asked = list(expressions)
        prints = "".join(f'printf("%llu\\n", (unsigned long long)({each}));\n' for each in asked)
        source, program = self._directory / "ask.c", self._directory / "ask"
        source.write_text(f"{INCLUDES}int main(void)\n{{\n{prints}return 0;\n}}\n")
        self._compile("-o", program, source)
        told = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
        return dict(zip(asked, map(int, told.split()), strict=True))

    def check_types(self, types: Mapping[str, str]) -> None:
        """Compile only where each function has this type."""
        form = '_Static_assert(__builtin_types_compatible_p(__typeof__({0}), {1}), "{0}");\n'
        source = self._directory / "types.c"
        source.write_text(INCLUDES + "".join(form.format(*each) for each in types.items()))
        self._compile("-fsyntax-only", source)

    def declare(self, name: str) -> bool:
        """Whether xenctrl.h declares a function."""
        return f"\nint {name}(" in (self.include / "xenctrl.h").read_text()

    def _compile(self, *options: str | Path) -> None:
        command = ["gcc", "-w", "-I", self.include, *options]
        done = subprocess.run(command, check=False, text=True, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr


@pytest.fixture(params=suites())
def headers(request: pytest.FixtureRequest, tmp_path: Path) -> Headers:
    """Give the headers of one release of Debian's."""
    return Headers(request.param, tmp_path)


@pytest.mark.parametrize(("name", "number", "ours"), NUMBERS)
def test_a_number_of_ours_is_the_one_of_every_xen(name: str, number: int, ours: int) -> None:
    """A call by a wrong number would do another thing."""
    assert ours == number, name


def test_numbers_are_those_of_the_headers(headers: Headers) -> None:
    """Of hypercalls, flags, reasons of a shutdown, and xenstore's messages."""
    ours = {name: number for name, _, number in NUMBERS} | FLAGS | WIRE
    assert headers.values_of(ours) == ours


def test_structures_are_laid_out_as_the_headers_have_them(headers: Headers) -> None:
    """Sizes and offsets of all that is packed, read or passed on to Xen."""
    _, sysctl = versions_of(headers)
    ours = layouts(sysctl)
    assert headers.values_of(ours) == ours


def test_interface_versions_are_among_those_that_are_tried(headers: Headers) -> None:
    """And those of the releases that we name are what we know them to be."""
    found = versions_of(headers)
    assert found[0] in abi.DOMCTL_VERSIONS
    assert found[1] in abi.SYSCTL_VERSIONS
    assert VERSIONS.get(headers.suite, found) == found


def test_the_interposing_library_knows_libxl(headers: Headers) -> None:
    """Return codes, a level of the log, and how the end of an operation is reported."""
    assert headers.values_of(LIBXL) == LIBXL


def test_functions_have_the_types_that_we_call_them_by(headers: Headers) -> None:
    """Those of libxencall for the daemon; those of libxenctrl and libxl for the library."""
    headers.check_types(CALLS)


def test_a_device_model_reads_its_maximum_by_a_function_of_its_release(headers: Headers) -> None:
    """Until 4.17 with a structure of its own, which later releases have no more."""
    is_old = headers.declare("xc_domain_getinfo")
    assert is_old == (headers.suite == "bookworm")
    assert headers.declare("xc_domain_getinfo_single") != is_old
    headers.check_types(OLD_CALLS if is_old else NEW_CALLS)
    if is_old:
        assert headers.values_of(OLD_XENCTRL) == OLD_XENCTRL


def test_unique_ids_are_where_the_headers_have_them(headers: Headers) -> None:
    """Before Xen 4.21 they have none; those of Debian 12 and 13 are of before."""
    has_them = "XEN_DOMCTL_get_domain_state" in (headers.include / "xen/domctl.h").read_text()
    assert not (has_them and headers.suite in REQUIRED)
    if has_them:
        assert headers.values_of(UNIQUE_ID) == UNIQUE_ID


def test_a_wrong_offset_is_noticed(headers: Headers) -> None:
    """The comparison fails where one number differs."""
    ours = layouts(versions_of(headers)[1])
    assert headers.values_of(ours) != {**ours, "sizeof(struct xen_domctl)": abi.DOMCTL_SIZE + 8}


def versions_of(headers: Headers) -> tuple[int, int]:
    """Return the interface versions of domctl and sysctl."""
    names = ("XEN_DOMCTL_INTERFACE_VERSION", "XEN_SYSCTL_INTERFACE_VERSION")
    domctl, sysctl = headers.values_of(names).values()
    return domctl, sysctl


def test_every_name_of_newer_interfaces_is_in_the_headers() -> None:
    """ARCHITECTURE.md says of each since when it is there; later ones are in none of these."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    table = page[page.index("### What newer Xens offer") : page.index("## The house")]
    include, checked = headers_of("trixie"), 0
    for row in table.splitlines():
        for header, symbol in re.findall(r"`(\w+\.h):(\w+)`", row):
            texts = [path.read_text() for path in include.rglob(header)]
            is_there = any(re.search(rf"\b{symbol}\b", text) for text in texts)
            assert is_there == (not row.startswith(("| 4.21", "| 4.22"))), (header, symbol)
            checked += 1
    assert checked > 10
