"""Access rules of the routes: which roles, and whether only for the caller's own domain."""

from collections.abc import Mapping
from dataclasses import dataclass

from maxmemd.policy.roles import ADMIN, DEVICE_MODEL, OBSERVER, TOOLSTACK, Role


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route: `roles` for any domain and owner, `own` only for their own domain.

    A device model owns its domain, referred to by domid, and in it the components of owner
    `device-model`. The arbiter checks later that the domid still means the same domain. `local`
    restricts a route to the Unix socket, whatever the role.
    """

    name: str
    roles: frozenset[str]
    own: frozenset[str] = frozenset()
    local: bool = False

    def allows(self, role: Role, path: Mapping[str, str]) -> bool:
        """Whether this role may call the route with these path parameters."""
        if role.name in self.roles:
            return True
        return (
            role.name in self.own
            and path.get("ref") == str(role.domid)
            and path.get("owner", role.name) == role.name
        )


_OWN = frozenset({DEVICE_MODEL})
_READERS = frozenset({ADMIN, TOOLSTACK, OBSERVER})
_WRITERS = frozenset({ADMIN, TOOLSTACK})

anyone = Access("anyone", _READERS | _OWN)
readers = Access("readers", _READERS)
reads_own = Access("readers, device-model of its own", _READERS, _OWN)
toolstack = Access("toolstack", _WRITERS)
writes_own = Access("toolstack, device-model of its own", _WRITERS, _OWN)
admin = Access("admin", frozenset({ADMIN}))
local_admin = Access("admin, Unix socket only", frozenset({ADMIN}), local=True)

RULES: Mapping[str, str] = {
    anyone.name: "any caller with a role",
    readers.name: "admin, toolstack and observer",
    reads_own.name: "admin, toolstack and observer, and a device model about its own domain",
    toolstack.name: "admin and toolstack",
    writes_own.name: "admin and toolstack, and a device model for its own domain's components",
    local_admin.name: "admin, over the Unix socket only",
    admin.name: "admin: root, the daemon's own user, and the admins of the configuration",
}
"""Each rule as an error message puts it."""
