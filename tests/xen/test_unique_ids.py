"""A domain's facts and its unique ID are of one domain, whatever is replaced between two calls."""

import ctypes
import errno
import struct
from collections.abc import Iterator
from itertools import product

import pytest

from maxmemd.errors import DomainGone
from maxmemd.policy.facts import XenFacts
from maxmemd.units import DOMID_FIRST_RESERVED
from maxmemd.xen import abi, xencall
from maxmemd.xen.unique_ids import UniqueIds
from maxmemd.xen.xencall import Xencall

UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"
HANDLE = bytes(range(16))


class Replaced:
    """A domid whose domain is replaced, or goes, before some calls; its max_pages are its ID."""

    def __init__(self, changes: Iterator[str]) -> None:
        self._changes, self.id, self.is_there = changes, 1, True

    def ask(self, domid: int) -> int:
        """Return its unique ID."""
        self._change(domid)
        return self.id

    def read(self, domid: int) -> XenFacts:
        """Return its facts."""
        self._change(domid)
        return XenFacts(domid, UUID, 1, self.id)

    def _change(self, domid: int) -> None:
        match next(self._changes, ""):
            case "replaced":
                self.id, self.is_there = self.id + 1, True
            case "gone":
                self.is_there = False
        if not self.is_there:
            raise DomainGone("read", domid, errno.ESRCH)


def test_facts_and_id_are_of_one_domain() -> None:
    """In every order of replacements: what is returned is one domain's, or none is there."""
    for changes in product(("", "replaced", "gone"), repeat=5):
        host = Replaced(iter(("", "", "", "", *changes)))
        ids = UniqueIds(host.ask, host.read)
        assert ids.domain(7).unique_id == 1
        for _ in range(2):
            found = list(ids.listed(present(host)))
            assert [fact.unique_id for fact in found] == [fact.max_pages for fact in found], changes
            try:
                alone = ids.domain(7)
            except DomainGone:
                assert not host.is_there
            else:
                assert alone.unique_id == alone.max_pages, changes


def present(host: Replaced) -> list[XenFacts]:
    """Return the list of domains, which has the domain where it is there."""
    try:
        return [host.read(7)]
    except DomainGone:
        return []


def test_an_id_that_cannot_be_had_is_none() -> None:
    """The facts are told without it."""
    ids = UniqueIds(lambda _: None, lambda domid: XenFacts(domid, UUID, 1, 2))
    assert ids.domain(7) == XenFacts(7, UUID, 1, 2)
    assert list(ids.listed([XenFacts(7, UUID, 1, 2)])) == [XenFacts(7, UUID, 1, 2)]


class Library:
    """libxencall of a host with one domain, 0, on Xen 4.20 or on a later one."""

    def __init__(self, *, is_later: bool) -> None:
        self._is_later = is_later
        self._buffers: list[ctypes.Array[ctypes.c_char]] = []
        self.unique_id = 2**64 - 7

    def xencall_open(self, _logger: None, _flags: int) -> int:
        """Return a handle."""
        return 1

    def xencall_close(self, _handle: int) -> int:
        """End it."""
        return 0

    def xencall_alloc_buffer(self, _handle: int, size: int) -> int:
        """Return the address of a buffer."""
        self._buffers.append(ctypes.create_string_buffer(size))
        return ctypes.addressof(self._buffers[-1])

    def xencall2(self, _handle: int, _op: int, _first: int, _second: int) -> int:
        """Return a version, or a count of shared pages."""
        return 4 << 16 | (22 if self._is_later else 20)

    def xencall1(self, _handle: int, op: int, address: int) -> int:
        """Do a domctl or a sysctl on the structure at an address."""
        command, version, domid = struct.unpack("<IIH", ctypes.string_at(address, 10))
        is_stable = self._is_later and op == abi.DOMCTL and command == abi.GET_DOMAIN_STATE
        running = (0x17, 0x15) if not self._is_later else (0x18, 0x16)
        if version != (0 if is_stable else running[op == abi.SYSCTL]):
            return self._fail(errno.EACCES)
        if op == abi.DOMCTL and domid != 0:
            return self._fail(errno.ESRCH)
        if is_stable:
            return self._tell_state(address)
        if op == abi.DOMCTL:
            ctypes.memmove(address + abi.DOMCTL_BODY, _entry(), 112)
        elif command == abi.GETDOMAININFOLIST:
            [buffer] = struct.unpack("<Q", ctypes.string_at(address + 16, 8))
            ctypes.memmove(buffer, _entry(), 112)
            ctypes.memmove(address + 24, struct.pack("<I", 1), 4)
        return 0

    def _tell_state(self, address: int) -> int:
        """Answer EINVAL where padding is not 0, as Xen does (xen/common/domain.c)."""
        if any(ctypes.string_at(address + abi.DOMCTL_BODY, 128)):
            return self._fail(errno.EINVAL)
        state = struct.pack("<HHIQ", 1, 7, 0, self.unique_id)
        ctypes.memmove(address + abi.DOMCTL_BODY, state, len(state))
        return 0

    def _fail(self, number: int) -> int:
        ctypes.set_errno(number)
        return -1


def _entry() -> bytes:
    numbers = struct.pack("<QQQQQQQ", 10, 20, 0, 0, 0, 0xFFFFF, 60)
    head = struct.pack("<HHI", 0, 0, 0x20) + numbers + struct.pack("<III", 2, 1, 9)
    return head + HANDLE + struct.pack("<I", 4) + b"\x01" * 16


@pytest.mark.parametrize("is_later", [False, True], ids=["4.20", "4.22"])
def test_a_later_xen_is_asked_for_unique_ids(
    monkeypatch: pytest.MonkeyPatch, is_later: bool
) -> None:
    """The call is stable: its version is 0, and an earlier Xen refuses that."""
    library = Library(is_later=is_later)
    monkeypatch.setattr(xencall, "_load", lambda: library)
    xen = Xencall()
    expected = library.unique_id if is_later else None
    assert [fact.unique_id for fact in xen.domains()] == [expected]
    assert (xen.domain(0).unique_id, xen.domain(0).max_pages) == (expected, 20)
    library.unique_id = 3
    assert xen.domain(0).unique_id == (3 if is_later else None)
    assert [fact.unique_id for fact in xen.domains()] == [3 if is_later else None]
    with pytest.raises(DomainGone):
        xen.domain(DOMID_FIRST_RESERVED - 1)
    xen.close()
