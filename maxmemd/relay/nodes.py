"""Which domain a stub domain serves, by xenstore, and the nodes of its requests and replies.

libxl_dm.c:libxl__spawn_stub_dm writes /local/domain/N/image/device-model-domid and
/local/domain/S/target. Both inherit the permissions of the node above: dom0 writes, the domain
reads. S serves N only if both nodes agree and no guest could have written either. A domain owns
only the nodes below its path that it was given; SET_TARGET gives S the rights of N, no more.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from maxmemd.policy.reference import UUID_PATTERN
from maxmemd.units import DOMID_FIRST_RESERVED
from maxmemd.xen.xenstore import is_home_of
from maxmemd.xen.xs_wire import Connection

_UUID = re.compile(f"/vm/({UUID_PATTERN})")


class Binding(NamedTuple):
    """A stub domain and the domain that it serves, with UUIDs, since domids are reused (A6)."""

    domid: int
    uuid: str
    target: int
    target_uuid: str


class StubState(NamedTuple):
    """One domain's nodes. `target` is the domain that it serves according to its own node.

    `binding` is None unless that domain's node agrees. `request` and `reply` are unparsed.
    """

    target: int | None = None
    binding: Binding | None = None
    request: bytes | None = None
    reply: bytes | None = None


def home_path(domid: int) -> str:
    """Return a domain's path in xenstore."""
    return f"/local/domain/{domid}"


def target_node(domid: int) -> str:
    """Return the node with the domain that a stub domain serves."""
    return f"{home_path(domid)}/target"


def device_model_node(domid: int) -> str:
    """Return the node with the stub domain that serves a domain."""
    return f"{home_path(domid)}/image/device-model-domid"


def request_node(domid: int) -> str:
    """Return the node that a stub domain writes its requests to."""
    return f"{home_path(domid)}/maxmem/request"


def read_stub(connection: Connection, domid: int) -> StubState:
    """Read a domain's nodes. Raises OSError."""
    nodes = ("vm", "target", "maxmem/request", "maxmem/reply")
    paths = [f"{home_path(domid)}/{node}" for node in nodes]
    vm, target_value, request, reply = connection.read(*paths)
    target = _domid(target_value)
    if target is None or target in (0, domid):
        return StubState(None, None, request, reply)

    target_vm, model = connection.read(f"{home_path(target)}/vm", device_model_node(target))
    permissions = connection.permissions(target_node(domid), device_model_node(target))
    if not _only_dom0_writes(permissions[0]):
        return StubState(None, None, request, reply)
    uuid, target_uuid = _uuid(vm), _uuid(target_vm)
    binding = None
    if uuid and target_uuid and _domid(model) == domid and _only_dom0_writes(permissions[1]):
        binding = Binding(domid, uuid, target, target_uuid)
    return StubState(target, binding, request, reply)


def make_nodes(connection: Connection, binding: Binding) -> bool:
    """Make a stub domain's missing nodes; False if the domid is another domain's now.

    A stub domain may remove its request node, since it may write it (tools/xenstored/core.c:do_rm),
    but cannot make it again: that takes the right to write the node above. Raises OSError.
    """
    reader, writer = f"r{binding.domid}", f"b{binding.domid}"
    wanted = (("", reader), ("/request", writer), ("/reply", reader))

    def make(transaction: int) -> None:
        for node, right in wanted:
            path, rights = f"{home_path(binding.domid)}/maxmem{node}", ["n0", right]
            found = connection.permissions(path, transaction=transaction)[0]
            if found is None:
                connection.write(path, "", transaction)
            if found != rights:
                connection.permit(path, *rights, transaction=transaction)

    return _transact_if_alive(connection, binding, make)


def write_reply(connection: Connection, binding: Binding, text: str) -> bool:
    """Write a reply; False if the domid is another domain's now. Raises OSError."""
    path = f"{home_path(binding.domid)}/maxmem/reply"

    def write(transaction: int) -> None:
        connection.write(path, text, transaction)

    return _transact_if_alive(connection, binding, write)


def remove_nodes(connection: Connection, domid: int) -> None:
    """Remove the nodes of a domain that serves no domain. Raises OSError."""
    path = f"{home_path(domid)}/maxmem"

    def remove(transaction: int) -> None:
        if connection.read(path, transaction=transaction) != [None]:
            connection.remove(path, transaction)

    connection.transact(remove)


class _Gone(Exception):
    """The path belongs to another domain now, or to none."""


def _transact_if_alive(
    connection: Connection, binding: Binding, body: Callable[[int], None]
) -> bool:
    def check_and_run(transaction: int) -> None:
        # In the same transaction as the writes: xenstored makes missing parents, so a write after
        # the domain's end would leave nodes that belong to nothing, or to the domid's next owner.
        if not is_home_of(connection, transaction, binding.domid, binding.uuid):
            raise _Gone
        body(transaction)

    try:
        connection.transact(check_and_run)
    except _Gone:
        return False
    return True


def _domid(value: bytes | None) -> int | None:
    """Parse a domid as libxl writes it; None for anything else."""
    if value is None or not value.isdigit() or len(value) > len(str(DOMID_FIRST_RESERVED)):
        return None
    number = int(value)
    return number if number < DOMID_FIRST_RESERVED else None


def _uuid(value: bytes | None) -> str | None:
    """Return the UUID in the value of /local/domain/N/vm, or None."""
    found = _UUID.match("" if value is None else value.decode(errors="replace").lower())
    return None if found is None else found[1]


def _only_dom0_writes(permissions: list[str] | None) -> bool:
    """Whether dom0 owns a node and all others may read it at most."""
    if not permissions or permissions[0][1:] != "0":
        return False
    others = [word for word in permissions[1:] if word[1:] != "0"]
    return all(word[0] in "nr" for word in (permissions[0], *others))
