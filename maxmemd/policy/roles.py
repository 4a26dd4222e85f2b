"""Who may be what: the role of a caller, from what the kernel or a certificate says of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from maxmemd.units import DOMID_FIRST_RESERVED

ADMIN, TOOLSTACK, DEVICE_MODEL, OBSERVER = "admin", "toolstack", "device-model", "observer"
NOBODY = "nobody"
"""A client without a role: everything is refused."""
ROLES = (ADMIN, TOOLSTACK, DEVICE_MODEL, OBSERVER)
GIVEN = (ADMIN, TOOLSTACK, OBSERVER)
"""The roles that a list can give; of several groups' roles the first of these counts."""

OVERFLOW_UID = 65534
"""The kernel's uid for one without a name in our user namespace: an unknown user."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a caller is. `domid` is the domain whose device model it is, None for other roles."""

    name: str
    domid: int | None = None


@dataclass(frozen=True, slots=True)
class Bond:
    """The one domain that a device model may touch: its domid, and the IDs pinned at connect."""

    domid: int
    uuid: str
    unique_id: int | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """Who has which role, by uid, gid and certificate subject.

    `base` is the uid of xen-qemuuser-range-base: libxl runs the device model of domain N as
    base + N (tools/libs/light/libxl_dm.c:libxl__domain_get_device_model_uid); None is none.
    `default` is the role of every other process whose uid the kernel can name.
    """

    users: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    base: int | None = None
    default: str = OBSERVER

    def of_process(self, pid: int, uid: int, groups: Iterable[int], own_uid: int) -> Role:
        """Return the role of a process; `own_uid` is the daemon's.

        A device model's uid says more than its groups: one of them may be that of the socket.
        """
        if pid <= 0 or uid == OVERFLOW_UID:
            return Role(NOBODY)
        if uid in (0, own_uid):
            return Role(ADMIN)
        if uid in self.users:
            return Role(self.users[uid])
        if self.is_device_model(uid):
            return self._device_model(uid)
        found = {self.groups[gid] for gid in groups if gid in self.groups}
        return Role(next((name for name in GIVEN if name in found), self.default))

    def of_device_model(self, pid: int, uid: int) -> Role:
        """Return the role of a process that came by the device models' own socket.

        Any process that finds one of its links can connect, so no other uid has a role.
        """
        if pid <= 0 or not self.is_device_model(uid):
            return Role(NOBODY)
        return self._device_model(uid)

    def of_subject(self, subject: str) -> Role:
        """Return the role of a client whose certificate has this subject."""
        return Role(self.subjects.get(subject, NOBODY))

    def is_device_model(self, uid: int) -> bool:
        """Whether a uid is in the range that libxl runs device models as."""
        return self.base is not None and 0 <= uid - self.base < DOMID_FIRST_RESERVED

    def _device_model(self, uid: int) -> Role:
        """Return the domain of its device model; dom0 has none, so the base uid has no role."""
        domid = uid - (self.base or 0)
        return Role(DEVICE_MODEL, domid) if domid else Role(NOBODY)
