"""What xenstore says of a domain that may be a stub domain, and the nodes that are made for it.

libxl_dm.c:libxl__spawn_stub_dm writes /local/domain/N/image/device-model-domid and
/local/domain/S/target, each with the rights of the path above: dom0's to write, the domain's to
read. S serves N only where both say so and no guest could have written either. A domain owns
nothing below its own path but what it is given; SET_TARGET gives S the rights of N, no more.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from maxmemd.policy.reference import UUID_PATTERN
from maxmemd.policy.roles import END_DOMID
from maxmemd.xen.xenstore import is_home_of
from maxmemd.xen.xs_wire import Connection

_UUID = re.compile(f"/vm/({UUID_PATTERN})")


class Bound(NamedTuple):
    """A stub domain and the domain that it serves, each by domid and UUID: domids return (A6)."""

    domid: int
    uuid: str
    target: int
    target_uuid: str


class StubState(NamedTuple):
    """What is seen of one domain. `target` is whom it says to serve, as dom0 wrote it.

    `bound` is None unless the other side says so too. `request` and `reply` are as they are.
    """

    target: int | None = None
    bound: Bound | None = None
    request: bytes | None = None
    reply: bytes | None = None


def home_path(domid: int) -> str:
    """Return the path that is a domain's."""
    return f"/local/domain/{domid}"


def target_node(domid: int) -> str:
    """Return the node that says whom a stub domain serves."""
    return f"{home_path(domid)}/target"


def model_node(domid: int) -> str:
    """Return the node that says which stub domain a domain's device model is in."""
    return f"{home_path(domid)}/image/device-model-domid"


def request_node(domid: int) -> str:
    """Return the node that a stub domain writes to."""
    return f"{home_path(domid)}/maxmem/request"


def read_stub(connection: Connection, domid: int) -> StubState:
    """Return what is to be seen of a domain. Raises OSError."""
    nodes = ("vm", "target", "maxmem/request", "maxmem/reply")
    paths = [f"{home_path(domid)}/{node}" for node in nodes]
    vm, said, request, reply = connection.read(*paths)
    target = _domid(said)
    if target is None or target in (0, domid):
        return StubState(None, None, request, reply)

    their_vm, model = connection.read(f"{home_path(target)}/vm", model_node(target))
    permissions = connection.permissions(target_node(domid), model_node(target))
    if not _is_dom0s(permissions[0]):
        return StubState(None, None, request, reply)
    uuid, target_uuid = _uuid(vm), _uuid(their_vm)
    bound = None
    if uuid and target_uuid and _domid(model) == domid and _is_dom0s(permissions[1]):
        bound = Bound(domid, uuid, target, target_uuid)
    return StubState(target, bound, request, reply)


def make_nodes(connection: Connection, bound: Bound) -> bool:
    """Make what is missing of a stub domain's nodes; False where it is another domain by now.

    Whoever may write a node may remove it (tools/xenstored/core.c:do_rm), but only whoever may
    write the node above can make it again. Raises OSError.
    """
    reader, writer = f"r{bound.domid}", f"b{bound.domid}"
    wanted = (("", reader), ("/request", writer), ("/reply", reader))

    def make(transaction: int) -> None:
        for node, right in wanted:
            path, rights = f"{home_path(bound.domid)}/maxmem{node}", ["n0", right]
            found = connection.permissions(path, transaction=transaction)[0]
            if found is None:
                connection.write(path, "", transaction)
            if found != rights:
                connection.permit(path, *rights, transaction=transaction)

    return _within(connection, bound, make)


def write_reply(connection: Connection, bound: Bound, text: str) -> bool:
    """Write a reply; False where the stub domain is another one by now. Raises OSError."""
    path = f"{home_path(bound.domid)}/maxmem/reply"
    return _within(connection, bound, lambda transaction: connection.write(path, text, transaction))


def remove_nodes(connection: Connection, domid: int) -> None:
    """Take the nodes away from a domain that is nobody's device model. Raises OSError."""
    path = f"{home_path(domid)}/maxmem"

    def remove(transaction: int) -> None:
        if connection.read(path, transaction=transaction) != [None]:
            connection.remove(path, transaction)

    connection.transact(remove)


class _Gone(Exception):
    """The path is not the domain's any more."""


def _within(connection: Connection, bound: Bound, body: Callable[[int], None]) -> bool:
    """Run `body` in a transaction that checks first, so that a dead path is never made again."""

    def checked(transaction: int) -> None:
        if not is_home_of(connection, transaction, bound.domid, bound.uuid):
            raise _Gone
        body(transaction)

    try:
        connection.transact(checked)
    except _Gone:
        return False
    return True


def _domid(value: bytes | None) -> int | None:
    """Parse a domid as libxl writes it; None for anything else."""
    if value is None or not value.isdigit() or len(value) > len(str(END_DOMID)):
        return None
    number = int(value)
    return number if number < END_DOMID else None


def _uuid(value: bytes | None) -> str | None:
    """Return the UUID that /local/domain/N/vm names; None where it names none."""
    found = _UUID.match("" if value is None else value.decode(errors="replace").lower())
    return None if found is None else found[1]


def _is_dom0s(permissions: list[str] | None) -> bool:
    """Whether nobody but dom0 may write a node: it owns it, and all others may read at most."""
    if not permissions or permissions[0][1:] != "0":
        return False
    others = [word for word in permissions[1:] if word[1:] != "0"]
    return all(word[0] in "nr" for word in (permissions[0], *others))
