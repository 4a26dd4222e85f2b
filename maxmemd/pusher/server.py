"""maxmemd-pusher: the one process that holds Xen's handle, and xenstore's.

Whoever holds /dev/xen/privcmd owns the host, so this process parses no HTTP, knows no SQL, and does
nothing but: say what is there, and bring a live domain's limit, target and static-max to what an
order says. An order is checked here, whatever the arbiter checked: whoever parses requests may
have been taken over.
"""

import logging
import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from errno import EPERM, ESRCH
from typing import Any

from maxmemd.errors import HypervisorError, XenstoreError
from maxmemd.policy.orders import Order, Outcome
from maxmemd.ports import Pusher
from maxmemd.pusher import protocol
from maxmemd.pusher.protocol import Malformed
from maxmemd.systemd import Watchdog
from maxmemd.units import Memory

LOG = logging.getLogger("maxmemd.pusher")
MOST_CONNECTIONS = 8
"""One arbiter has two: it asks, and it waits for changes. The last one's may be there too."""
PATIENCE_S = 2.0
"""How long a message may take to come, or to be taken."""
IDLE_S = 1.0


_BELOW = (
    "cannot give dom0 less than dom0_floor"
    " (where that was changed: systemctl restart maxmemd-pusher)"
)


class PusherServer:
    """Serves one way to Xen on a listening socket, one message after the other.

    `make` opens the handles; while it cannot, every answer says why, and it is tried again.
    `dom0_floor` is the least that dom0 may be given.
    """

    def __init__(
        self, listener: socket.socket, make: Callable[[], Pusher], dom0_floor: Memory
    ) -> None:
        self._listener, self._make, self._dom0_floor = listener, make, dom0_floor
        self._pusher: Pusher | None = None
        self._watchdog = Watchdog()
        self._connections: list[socket.socket] = []
        self._watching: list[socket.socket] = []
        self._changed_read, self._changed_write = os.pipe()
        os.set_blocking(self._changed_write, False)
        self._verbs: Mapping[str, Callable[..., object]] = {
            "domains": lambda: list(map(tuple, self._open().domains())),  # are faster as JSON
            "domain": lambda domid: self._open().domain(protocol.domid_from_json(domid)),
            "host": lambda: asdict(self._open().host()),
            "facts": self._facts,
            "look": self._look,
            "push": self._push,
        }

    def serve(self, until: int | None = None) -> None:
        """Serve until the descriptor `until` can be read (its other end is gone)."""
        ends = [] if until is None else [until]
        while True:
            self._watchdog.fed()
            sources: list[socket.socket | int] = [self._listener, self._changed_read, *ends]
            sources += [*self._connections, *self._watching]
            readable, _, _ = select.select(sources, [], [], IDLE_S)
            if until in readable:
                return
            if self._changed_read in readable:
                os.read(self._changed_read, 4096)
                self._tell()
            if self._listener in readable:
                self._accept()
            for connection in [one for one in self._connections if one in readable]:
                self._serve_one(connection)
            for connection in [one for one in self._watching if one in readable]:
                self._end(connection)  # it has nothing more to say: it is gone

    def close(self) -> None:
        """Give all handles back."""
        for connection in (*self._connections, *self._watching):
            connection.close()
        if self._pusher is not None:
            self._pusher.close()
        os.close(self._changed_read)
        os.close(self._changed_write)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._connections) + len(self._watching) >= MOST_CONNECTIONS:
            self._end((self._connections + self._watching)[0])
        connection.settimeout(PATIENCE_S)
        self._connections.append(connection)

    def _end(self, connection: socket.socket) -> None:
        for some in (self._connections, self._watching):
            if connection in some:
                some.remove(connection)
        connection.close()

    def _serve_one(self, connection: socket.socket) -> None:
        """Take one message and answer it; whoever sends nonsense is cut off, and it is said."""
        try:
            verb, *words = protocol.list_from_json(protocol.receive(connection))
            if verb == "watch":
                self._watch(connection)
            else:
                protocol.send(connection, self._answer(verb, words))
        except (Malformed, ValueError, TypeError) as error:
            LOG.critical("a message is refused, and its connection cut: %s", error)
            self._end(connection)
        except OSError:  # gone, or it does not take its answer
            self._end(connection)

    def _answer(self, verb: Any, words: Sequence[Any]) -> object:
        """Do what a message says. Raises Malformed, or TypeError for words that are not its."""
        if type(verb) is not str or verb not in self._verbs:
            raise Malformed(f"no verb {verb!r:.40}")
        try:
            return {"ok": self._verbs[verb](*words)}
        except (HypervisorError, XenstoreError) as error:
            return {"error": protocol.error_to_json(error)}

    def _facts(self, domid: Any) -> object:
        return protocol.store_to_json(self._open().facts(protocol.domid_from_json(domid)))

    def _look(self, domids: Any, stores: Any) -> object:
        asked = [protocol.domid_from_json(domid) for domid in protocol.list_from_json(domids)]
        wanted = {protocol.domid_from_json(domid) for domid in protocol.list_from_json(stores)}
        pusher, shown = self._open(), []
        for domid in asked:
            (looked,) = pusher.look([domid], stores=wanted)
            shown.append(protocol.looked_to_json(looked))
            self._watchdog.fed()
        return shown

    def _push(self, orders: Any) -> object:
        """Carry out orders; each is a step of its own for the watchdog."""
        asked = [protocol.order_from_json(words) for words in protocol.list_from_json(orders)]
        done = []
        for order in asked:
            done.append(protocol.outcome_to_json(self._push_one(order)))
            self._watchdog.fed()
        return done

    def _push_one(self, order: Order) -> Outcome:
        """Carry out an order for a live domain that still is the one that is meant (A3, A6)."""
        pusher = self._open()
        if self._starves_dom0(order):
            LOG.critical("refused: dom0 is to have less than its floor: %s", order)
            return Outcome(None, errno=EPERM, error=_BELOW)
        try:
            seen = pusher.domain(order.domid)
        except HypervisorError as error:
            return Outcome(None, error.errno == ESRCH, error.errno, str(error))
        if seen.uuid != order.uuid or seen.dying:
            gone = HypervisorError.of("find the domain that is meant", order.domid, ESRCH)
            return Outcome(None, gone=True, errno=ESRCH, error=str(gone))
        (outcome,) = pusher.push([order])
        return outcome

    def _starves_dom0(self, order: Order) -> bool:
        """Whether dom0 is to have less than its floor in any amount: its balloon follows them."""
        effects = order.effects
        amounts = (order.limit, effects.pod_target, effects.static_max, effects.target)
        # an amount of 0 is one to check: only None says that a thing is left alone
        given = [amount for amount in amounts if amount is not None]
        return order.domid == 0 and min(given) < self._dom0_floor

    def _watch(self, connection: socket.socket) -> None:
        """Send a byte on this connection from now on whenever domains came or went; one at once."""
        self._open()
        self._connections.remove(connection)
        connection.setblocking(False)
        self._watching.append(connection)
        self._tell()

    def _tell(self) -> None:
        for connection in list(self._watching):
            try:
                connection.send(b"!")
            except BlockingIOError:  # it has not read of the last change yet
                continue
            except OSError:
                self._end(connection)

    def _open(self) -> Pusher:
        """Return the way to Xen; opened when first needed. Raises HypervisorError."""
        if self._pusher is None:
            pusher = self._make()
            pusher.watch(self._changed)
            self._pusher = pusher
        return self._pusher

    def _changed(self) -> None:
        """Note that domains came or went; from xenstore's thread."""
        with suppress(BlockingIOError):  # it is noted already
            os.write(self._changed_write, b"!")
