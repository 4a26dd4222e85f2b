"""Hypercalls, through libxencall only: its ABI is stable, libxenctrl's changes with each release.

The structures are packed here (abi.py). The interface versions and the size of a list entry are
probed (A2), so one build works on Xen 4.14 to 4.22.
"""

import ctypes
import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from maxmemd.errors import DomainGone, HypervisorError, NotPermitted, WrongInterface
from maxmemd.policy.facts import HostFacts, XenFacts
from maxmemd.units import DOMID_FIRST_RESERVED, Memory
from maxmemd.xen import abi
from maxmemd.xen.unique_ids import UniqueIds

LIST_ENTRIES = 1024
"""The most domains in one XEN_SYSCTL_getdomaininfolist."""

_PROBED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Buffer:
    """Memory that hypercalls may read and write: locked by libxencall, never moved or freed."""

    view: memoryview
    address: int


class Xencall:
    """The Hypervisor of ports.py, on a real Xen. One handle, buffers allocated once, one thread."""

    def __init__(self) -> None:
        """Open the handle and probe this Xen's interface. Raises HypervisorError."""
        self._uuids: dict[bytes, str] = {}
        self._unique_ids: UniqueIds | None = None
        self._library = _load()
        self._handle: int | None = self._open()
        try:
            self._domctl_buffer = self._buffer(abi.DOMCTL_SIZE)
            self._sysctl_buffer = self._buffer(abi.SYSCTL_SIZE)
            self._pod_target_buffer = self._buffer(abi.POD_TARGET_SIZE)
            # The versions first: the entry size is probed with a sysctl.
            self._domctl_version = self._probe_domctl()
            self._sysctl_version = self._probe_sysctl()
            entry_size = self._probe_entry_size()
            self._entry = struct.Struct(f"{abi.INFO_FORMAT}{entry_size - abi.INFO.size}x")
            self._list_buffer = self._buffer(LIST_ENTRIES * entry_size)
            self._name = self._version()
            if self._unique_id(0) is not None:
                self._unique_ids = UniqueIds(self._unique_id, self._read)
        except BaseException:
            self.close()
            raise

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain by rising domid: one hypercall for each 1024 of them.

        Where Xen has unique IDs, one more for each: the list has none.
        """
        found: list[XenFacts] = []
        first = 0
        while first < DOMID_FIRST_RESERVED:
            count = self._list(first, LIST_ENTRIES, self._list_buffer)
            entries = self._list_buffer.view[: count * self._entry.size]
            found += map(self._facts, self._entry.iter_unpack(entries))
            if count < LIST_ENTRIES:
                break
            first = found[-1].domid + 1
        return found if self._unique_ids is None else list(self._unique_ids.listed(found))

    def domain(self, domid: int) -> XenFacts:
        """Return one domain. Raises DomainGone."""
        return self._read(domid) if self._unique_ids is None else self._unique_ids.domain(domid)

    def _unique_id(self, domid: int) -> int | None:
        """Return a domain's unique ID; None where Xen does not say. Raises DomainGone."""
        self._domctl_buffer.view[:] = bytes(abi.DOMCTL_SIZE)
        try:
            self._domctl("read a unique ID", abi.GET_DOMAIN_STATE, domid, 0, abi.STABLE)
        except DomainGone:
            raise
        except HypervisorError:
            return None
        return int(abi.STATE.unpack_from(self._domctl_buffer.view)[-1]) or None

    def _read(self, domid: int) -> XenFacts:
        """Return one domain without its unique ID. Raises DomainGone."""
        what = "read a domain"
        self._domctl(what, abi.GETDOMAININFO, domid, 0)
        facts = self._facts(abi.INFO.unpack_from(self._domctl_buffer.view, abi.DOMCTL_BODY))
        if facts.domid != domid:  # up to Xen 4.17 it may be the next higher one (A3)
            raise DomainGone(what, domid, errno.ESRCH)
        return facts

    def host(self) -> HostFacts:
        """Return the host's totals, in 4 KiB pages (XEN_SYSCTL_physinfo)."""
        self._physinfo("read the host's memory")
        offset = abi.totals_offset(self._sysctl_version)
        total, free, scrub, claimed = abi.TOTALS.unpack_from(self._sysctl_buffer.view, offset)
        freed, used = map(self._sharing, (abi.SHARING_FREED, abi.SHARING_SHARED))
        return HostFacts(total, free, scrub, claimed, self._name, freed, used)

    def set_max_mem(self, domid: int, limit: Memory) -> None:
        """Set max_pages (XEN_DOMCTL_max_mem); Xen floors KiB to pages and saturates (A1)."""
        self._domctl("set the maximum", abi.MAX_MEM, domid, limit.kib)

    def set_pod_target(self, domid: int, target: Memory) -> None:
        """Set the populate-on-demand target, in whole pages (XENMEM_set_pod_target; A9)."""
        what = "set the populate-on-demand target"
        _check(what, domid)
        abi.POD_TARGET.pack_into(self._pod_target_buffer.view, 0, target.pages, domid)
        address = self._pod_target_buffer.address
        if self._library.xencall2(self._handle, abi.MEMORY_OP, abi.SET_POD_TARGET, address) < 0:
            raise HypervisorError.of(what, domid, ctypes.get_errno())

    def close(self) -> None:
        """Close the handle, and with it the buffers."""
        if self._handle is not None:
            self._library.xencall_close(self._handle)
            self._handle = None

    def _open(self) -> int:
        handle = self._library.xencall_open(None, 0)
        if not handle:
            number = ctypes.get_errno()
            kind = NotPermitted if number == errno.EACCES else HypervisorError
            raise kind("open /dev/xen/privcmd", None, number)
        return int(handle)

    def _buffer(self, size: int) -> _Buffer:
        address = self._library.xencall_alloc_buffer(self._handle, size)
        if not address:
            raise HypervisorError("allocate a hypercall buffer", None, ctypes.get_errno())
        ctypes.memset(address, 0, size)
        return _Buffer(memoryview((ctypes.c_char * size).from_address(address)).cast("B"), address)

    def _probe_domctl(self) -> int:
        """Return the version that is not refused with EACCES (xen/common/domctl.c:do_domctl)."""
        what = "use the domctl interface of this Xen"
        for version in abi.DOMCTL_VERSIONS:
            self._domctl_version = version
            try:
                self._domctl(what, abi.GETDOMAININFO, 0, 0)
            except WrongInterface:
                continue
            return version
        raise WrongInterface(what, None, errno.EACCES)

    def _probe_sysctl(self) -> int:
        """Return the version that is not refused with EACCES (xen/common/sysctl.c:do_sysctl)."""
        what = "use the sysctl interface of this Xen"
        for version in abi.SYSCTL_VERSIONS:
            self._sysctl_version = version
            try:
                self._physinfo(what)
            except WrongInterface:
                continue
            return version
        raise WrongInterface(what, None, errno.EACCES)

    def _probe_entry_size(self) -> int:
        """Return how many bytes Xen writes for one domain: 104 up to 4.15, 112 from 4.16 on x86.

        Over two patterns, since the entry's last byte may equal one of them: what differs from the
        pattern was written by Xen.
        """
        buffer = self._buffer(_PROBED_BYTES)
        size = 0
        for pattern in (b"\xa5", b"\x5a"):
            buffer.view[:] = pattern * _PROBED_BYTES
            self._list(0, 1, buffer)
            size = max(size, len(bytes(buffer.view).rstrip(pattern)))
        if not abi.INFO.size <= size < _PROBED_BYTES or size % 8:
            raise WrongInterface(f"read domains of {size} bytes", None, errno.EACCES)
        return size

    def _version(self) -> str:
        """Return the hypervisor's name, such as "Xen 4.17.7"."""
        number = self._library.xencall2(self._handle, abi.XEN_VERSION, abi.VERSION, 0)
        extra = self._buffer(abi.EXTRAVERSION_SIZE)
        self._library.xencall2(self._handle, abi.XEN_VERSION, abi.EXTRAVERSION, extra.address)
        text = bytes(extra.view).split(b"\0")[0].decode("ascii", "replace")
        return f"Xen {number >> 16}.{number & 0xFFFF}{text}"

    def _list(self, first: int, most: int, buffer: _Buffer) -> int:
        """Fill `buffer` with domains from the domid `first` on; return the number of entries."""
        fields = (abi.GETDOMAININFOLIST, self._sysctl_version, first, most, buffer.address, 0)
        abi.LIST.pack_into(self._sysctl_buffer.view, 0, *fields)
        self._sysctl("list the domains")
        found: int = abi.LIST.unpack_from(self._sysctl_buffer.view)[5]
        return min(most, found)

    def _sharing(self, what: int) -> int:
        """Return a count of shared pages; 0 for a Xen without memory sharing (ENOSYS)."""
        return max(0, int(self._library.xencall2(self._handle, abi.MEMORY_OP, what, 0)))

    def _facts(self, info: abi.Info) -> XenFacts:
        """Return unpacked INFO as facts, with cached UUIDs: every poll lists all domains."""
        handle = info[11]
        uuid = self._uuids.get(handle)
        if uuid is None:
            if len(self._uuids) >= DOMID_FIRST_RESERVED:
                self._uuids.clear()
            uuid = self._uuids[handle] = abi.uuid_of(handle)
        return abi.facts_of(info, uuid)

    def _domctl(
        self, what: str, command: int, domid: int, kib: int, version: int | None = None
    ) -> None:
        _check(what, domid)
        fields = (command, self._domctl_version if version is None else version, domid, kib)
        abi.DOMCTL_HEAD.pack_into(self._domctl_buffer.view, 0, *fields)
        if self._library.xencall1(self._handle, abi.DOMCTL, self._domctl_buffer.address) < 0:
            raise HypervisorError.of(what, domid, ctypes.get_errno())

    def _physinfo(self, what: str) -> None:
        head = (abi.PHYSINFO, self._sysctl_version)
        abi.SYSCTL_HEAD.pack_into(self._sysctl_buffer.view, 0, *head)
        self._sysctl(what)

    def _sysctl(self, what: str) -> None:
        if self._library.xencall1(self._handle, abi.SYSCTL, self._sysctl_buffer.address) < 0:
            raise HypervisorError.of(what, None, ctypes.get_errno())


def _check(what: str, domid: int) -> None:
    """Raise DomainGone for a reserved domid: Xen takes 0x7FF0 for the calling domain."""
    if not 0 <= domid < DOMID_FIRST_RESERVED:
        raise DomainGone(what, domid, errno.ESRCH)


def _load() -> ctypes.CDLL:
    """Load the library and declare its calls (tools/include/xencall.h)."""
    try:
        library = ctypes.CDLL("libxencall.so.1", use_errno=True)
    except OSError as error:
        raise HypervisorError(f"load libxencall.so.1 ({error})", None, errno.ENOENT) from error
    pointer, op, word = ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint64
    library.xencall_open.restype = pointer
    library.xencall_open.argtypes = [pointer, ctypes.c_uint]
    library.xencall_close.argtypes = [pointer]
    library.xencall_alloc_buffer.restype = pointer
    library.xencall_alloc_buffer.argtypes = [pointer, ctypes.c_size_t]
    library.xencall1.argtypes = [pointer, op, word]
    library.xencall2.argtypes = [pointer, op, word, word]
    return library
