"""The nodes of a small xenstored: who may what with them, transactions, and what was changed.

As tools/xenstored/core.c and transaction.c have it: the owner of a node may do everything with it,
as may dom0 and a domain with it as target; a new node takes the rights of the one above, and an
unprivileged maker is its owner; who may write a node may remove it and make others below it.
"""

import errno
from dataclasses import dataclass, field

MOST_BYTES = 2048
"""What a guest may put into one node (quota_max_entry_size)."""
DOM0S = ("n0",)
Rights = tuple[str, ...]


class Denied(Exception):
    """What xenstored answers instead: the name of an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])


@dataclass
class Tree:
    """Nodes by path. `rights` has those that are not inherited; dom0 owns the root.

    A node stands for the ones above it too: tests need not name them. `touched` are the paths
    that were looked at or changed, `changed` those that were changed, in order.
    """

    nodes: dict[str, bytes] = field(default_factory=dict)
    rights: dict[str, Rights] = field(default_factory=dict)
    targets: dict[int, int] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    changed: list[str] = field(default_factory=list)

    def copy(self) -> "Tree":
        """Return the same nodes, for a transaction."""
        return Tree(dict(self.nodes), dict(self.rights), self.targets)

    def state(self, path: str) -> object:
        """Return all that a transaction must find unchanged of a node."""
        return self.nodes.get(path), self.rights_of(path), tuple(self.children(path))

    def exists(self, path: str) -> bool:
        """Whether there is a node, named or stood for."""
        return path in self.nodes or path == "/" or any(self._below(path))

    def children(self, path: str) -> list[str]:
        """Return the names of the nodes right below."""
        prefix = path.rstrip("/") + "/"
        below = (node[len(prefix) :].split("/")[0] for node in self._below(path))
        return list(dict.fromkeys(below))

    def rights_of(self, path: str) -> Rights:
        """Return a node's rights: its own, or those of what is above."""
        while path not in self.rights and path:
            path = path.rpartition("/")[0]
        return self.rights.get(path, DOM0S)

    def read(self, domid: int, path: str) -> bytes:
        """Return a node's value."""
        self._check(domid, path, "r")
        return self.nodes.get(path, b"")

    def directory(self, domid: int, path: str) -> list[str]:
        """Return a node's children."""
        self._check(domid, path, "r")
        return self.children(path)

    def get_rights(self, domid: int, path: str) -> Rights:
        """Return a node's rights to a domain that may read it."""
        self._check(domid, path, "r")
        return self.rights_of(path)

    def set_rights(self, domid: int, path: str, rights: Rights) -> None:
        """Give a node other rights; only an owner may, and only dom0 may give it away."""
        self._check(domid, path, "o")
        if not self._is_owner(domid, rights):
            raise Denied(errno.EPERM)
        self.rights[path] = rights
        self._change(path)

    def write(self, domid: int, path: str, value: bytes) -> None:
        """Set a node's value, and make it and what is above if need be."""
        if domid and len(value) > MOST_BYTES:
            raise Denied(errno.ENOSPC)
        self._check(domid, path, "w", may_be_new=True)
        self._make(domid, path)
        self.nodes[path] = value
        self._change(path)

    def remove(self, domid: int, path: str) -> None:
        """Remove a node with all below it."""
        above = path.rpartition("/")[0] or "/"
        if not self.exists(path):
            self._check(domid, above, "w")
            return
        self._check(domid, path, "w")
        self._make(0, above)
        for node in [path, *self._below(path)]:
            self.nodes.pop(node, None)
            self.rights.pop(node, None)
        self._change(path)

    def _make(self, domid: int, path: str) -> None:
        if self.exists(path) or not path:
            self.nodes.setdefault(path, b"") if path in self.nodes else None
            return
        above = path.rpartition("/")[0]
        self._make(domid, above)
        rights = self.rights_of(above)
        self.nodes[path] = b""
        self.rights[path] = (f"{rights[0][0]}{domid}", *rights[1:]) if domid else rights
        self._change(path)

    def _change(self, path: str) -> None:
        self.touched.add(path)
        if path not in self.changed:
            self.changed.append(path)

    def _check(self, domid: int, path: str, wanted: str, *, may_be_new: bool = False) -> None:
        """Refuse what is not allowed; only a reader of the node learns that it is missing."""
        self.touched.add(path)
        if self.exists(path):
            if not self._may(domid, path, wanted):
                raise Denied(errno.EACCES)
            return
        above = path
        while not self.exists(above):
            above = above.rpartition("/")[0] or "/"
        if not self._may(domid, above, wanted):
            raise Denied(errno.EACCES)
        if not may_be_new:
            raise Denied(errno.ENOENT)

    def _may(self, domid: int, path: str, wanted: str) -> bool:
        rights = self.rights_of(path)
        if self._is_owner(domid, rights):
            return True
        who = (str(domid), str(self.targets.get(domid, domid)))
        letter = next((word[0] for word in rights[1:] if word[1:] in who), rights[0][0])
        return letter in {"r": "rb", "w": "wb", "o": ""}[wanted]

    def _is_owner(self, domid: int, rights: Rights) -> bool:
        return domid == 0 or rights[0][1:] in (str(domid), str(self.targets.get(domid, domid)))

    def _below(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        return [node for node in self.nodes if node.startswith(prefix)]
