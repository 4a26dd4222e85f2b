"""maxmemd-pusher: the only process with handles of Xen and xenstore.

A process with /dev/xen/privcmd open controls the host, so this one parses no HTTP and knows no SQL.
It reports what Xen and xenstore have, and sets a live domain's limit, target and static-max to an
order's. It checks every order again: the daemon parses HTTP and may be compromised.
"""

import logging
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from errno import EPERM, ESRCH

from maxmemd.errors import DomainFault, HypervisorError, XenstoreError
from maxmemd.policy.orders import Order, Outcome
from maxmemd.ports import Pusher
from maxmemd.pusher import protocol
from maxmemd.pusher.local import FaultLog
from maxmemd.pusher.protocol import Json, Malformed
from maxmemd.systemd import Watchdog
from maxmemd.units import Memory

LOG = logging.getLogger("maxmemd.pusher")
MOST_CONNECTIONS = 8
"""A daemon has two, for requests and for the watch; those of the one before may still be open."""
MESSAGE_WITHIN_S = 2.0
"""How long a message may take to arrive, or to be accepted by the other side."""
IDLE_S = 1.0
_BELOW_FLOOR = (
    "cannot give dom0 less than dom0_floor (after changing it: systemctl restart maxmemd-pusher)"
)


class PusherServer:
    """Serves a Pusher on a listening socket, one message at a time.

    `open_pusher` opens the handles; while it fails, every reply says why, and the next request
    tries again. Orders that give dom0 less than `dom0_floor` are refused.
    """

    def __init__(
        self, listener: socket.socket, open_pusher: Callable[[], Pusher], dom0_floor: Memory
    ) -> None:
        self._listener, self._open_pusher, self._dom0_floor = listener, open_pusher, dom0_floor
        self._pusher: Pusher | None = None
        self._watchdog = Watchdog()
        self._faults = FaultLog()
        self._connections: list[socket.socket] = []
        self._watchers: list[socket.socket] = []
        self._change_read, self._change_write = os.pipe()
        os.set_blocking(self._change_write, False)
        self._commands: Mapping[str, Callable[..., object]] = {
            "domains": lambda: list(map(tuple, self._get_pusher().domains())),  # faster as JSON
            "domain": self._domain,
            "host": lambda: asdict(self._get_pusher().host()),
            "facts": self._facts,
            "look": self._look,
            "push": self._push,
        }

    def serve(self, until: int | None = None) -> None:
        """Serve until the descriptor `until` becomes readable: its other end was closed."""
        ends = [] if until is None else [until]
        while True:
            self._watchdog.feed()
            sources: list[socket.socket | int] = [self._listener, self._change_read, *ends]
            sources += [*self._connections, *self._watchers]
            readable, _, _ = select.select(sources, [], [], IDLE_S)
            if until in readable:
                return
            # Changes first: orders may take seconds, and the next scan should not wait for them.
            if self._change_read in readable:
                os.read(self._change_read, 4096)
                self._notify_watchers()
            if self._listener in readable:
                self._accept()
            for connection in [one for one in self._connections if one in readable]:
                self._serve_one(connection)
            for connection in [one for one in self._watchers if one in readable]:
                self._disconnect(connection)  # a watcher sends nothing more: this is its end

    def close(self) -> None:
        """Close all connections and handles."""
        for connection in (*self._connections, *self._watchers):
            connection.close()
        if self._pusher is not None:
            # Before the pipe: until the watch has ended, its thread may still write there.
            self._pusher.close()
        os.close(self._change_read)
        os.close(self._change_write)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._connections) + len(self._watchers) >= MOST_CONNECTIONS:
            self._disconnect((self._connections + self._watchers)[0])
        connection.settimeout(MESSAGE_WITHIN_S)
        self._connections.append(connection)

    def _disconnect(self, connection: socket.socket) -> None:
        for connections in (self._connections, self._watchers):
            if connection in connections:
                connections.remove(connection)
        connection.close()

    def _serve_one(self, connection: socket.socket) -> None:
        """Receive one message and reply; disconnect a client whose message is malformed."""
        try:
            command, *arguments = protocol.list_from_json(protocol.receive(connection))
            if _is_hung_up(connection):
                # The order of a daemon that died, or gave up on it, while it waited here: what
                # counts is decided by now, and comes on another connection.
                LOG.warning("a request is dropped: its daemon has gone")
                self._disconnect(connection)
            elif command == "watch":
                self._watch(connection)
            else:
                protocol.send(connection, self._reply(command, arguments))
        except (Malformed, ValueError, TypeError) as error:
            LOG.critical("malformed message, connection closed: %s", error)
            self._disconnect(connection)
        except OSError:  # the client has gone, or does not read its reply
            self._disconnect(connection)

    def _reply(self, command: Json, arguments: Sequence[Json]) -> object:
        """Run a command. Raises Malformed, and TypeError for a wrong number of arguments."""
        if type(command) is not str or command not in self._commands:
            raise Malformed(f"no command {command!r:.40}")
        try:
            return {"ok": self._commands[command](*arguments)}
        except (HypervisorError, XenstoreError, DomainFault) as error:
            return {"error": protocol.error_to_json(error)}

    def _domain(self, domid: Json) -> object:
        number, pusher = protocol.domid_from_json(domid), self._get_pusher()
        with self._faults_of(number):
            return pusher.domain(number)

    def _facts(self, domid: Json) -> object:
        number, pusher = protocol.domid_from_json(domid), self._get_pusher()
        with self._faults_of(number):
            return protocol.store_to_json(pusher.facts(number))

    @contextmanager
    def _faults_of(self, domid: int) -> Iterator[None]:
        """Turn a fault of ours that one domain leads to into an error of that domain.

        It is no malformed message: the connection stays open for what is asked of other domains.
        """
        try:
            yield
        except (HypervisorError, XenstoreError):
            raise
        except Exception as surprise:
            raise self._faults.of(domid, surprise) from surprise

    def _look(self, domids: Json, stores: Json) -> object:
        # Every domid is checked before the first is looked at: a malformed message does nothing.
        checked = [protocol.domid_from_json(domid) for domid in protocol.list_from_json(domids)]
        with_store = {protocol.domid_from_json(domid) for domid in protocol.list_from_json(stores)}
        pusher, results = self._get_pusher(), []
        for domid in checked:
            (result,) = pusher.look([domid], stores=with_store)
            results.append(protocol.look_result_to_json(result))
            self._watchdog.feed()
        return results

    def _push(self, orders: Json) -> object:
        # One after the other, so that the watchdog limits each order and not the whole batch.
        checked = [protocol.order_from_json(order) for order in protocol.list_from_json(orders)]
        outcomes = []
        for order in checked:
            outcomes.append(protocol.outcome_to_json(self._push_one(order)))
            self._watchdog.feed()
        return outcomes

    def _push_one(self, order: Order) -> Outcome:
        """Carry out an order if its domid still is the domain that is meant, alive (A3, A6)."""
        pusher = self._get_pusher()
        if self._starves_dom0(order):
            LOG.critical("refused: dom0 would get less than dom0_floor: %s", order)
            return Outcome(None, errno=EPERM, error=_BELOW_FLOOR)
        try:
            with self._faults_of(order.domid):
                seen = pusher.domain(order.domid)
        except HypervisorError as error:
            return Outcome(None, error.errno == ESRCH, error.errno, str(error))
        except DomainFault as fault:
            return Outcome(None, error=str(fault))
        if not seen.is_domain(order.uuid, order.unique_id) or seen.dying:
            gone = HypervisorError.of("find the domain that is meant", order.domid, ESRCH)
            return Outcome(None, gone=True, errno=ESRCH, error=str(gone))
        (outcome,) = pusher.push([order])
        return outcome

    def _starves_dom0(self, order: Order) -> bool:
        """Whether any amount of an order for dom0 is below its floor: its balloon follows them."""
        effects = order.effects
        amounts = (order.limit, effects.pod_target, effects.static_max, effects.target)
        # an amount of 0 is one to check: only None says that a thing is left alone
        given = [amount for amount in amounts if amount is not None]
        return order.domid == 0 and min(given) < self._dom0_floor

    def _watch(self, connection: socket.socket) -> None:
        """Send a byte on this connection at once, and whenever domains may have come or gone."""
        self._get_pusher()
        self._connections.remove(connection)
        connection.setblocking(False)
        self._watchers.append(connection)
        # At once: a change between the daemon's last scan and this watch would be missed.
        self._notify_watchers()

    def _notify_watchers(self) -> None:
        for connection in list(self._watchers):
            try:
                connection.send(b"!")
            except BlockingIOError:  # earlier bytes are still unread, and say the same
                continue
            except OSError:
                self._disconnect(connection)

    def _get_pusher(self) -> Pusher:
        """Return the pusher, opened when first needed. Raises HypervisorError."""
        if self._pusher is None:
            pusher = self._open_pusher()
            pusher.watch(self._on_change)
            self._pusher = pusher
        return self._pusher

    def _on_change(self) -> None:
        """Wake `serve`; called from xenstore's thread."""
        with suppress(BlockingIOError):  # the pipe is full, so `serve` will wake
            os.write(self._change_write, b"!")


def _is_hung_up(connection: socket.socket) -> bool:
    """Return whether the other end is closed, whatever of it is still to be read."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
