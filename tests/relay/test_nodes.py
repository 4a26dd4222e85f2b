"""Whom the relay believes to be whose device model: only what dom0 alone can have written."""

import pytest

from maxmemd.relay import nodes
from maxmemd.relay.nodes import Binding
from maxmemd.xen.xs_wire import Connection
from tests.relay.scene import Scene, uuid_of
from tests.support.stub import Stub
from tests.support.until import until

S, N = 21, 20
TARGET, MODEL = f"/local/domain/{S}/target", f"/local/domain/{N}/image/device-model-domid"
BOUND = Binding(S, uuid_of(S), N, uuid_of(N))


def seen(scene: Scene) -> Binding | None:
    """Return whom the relay would believe the domain to serve."""
    connection = Connection(scene.fake.path)
    try:
        return nodes.read_stub(connection, S).binding
    finally:
        connection.close()


def test_what_libxl_writes_is_believed(told: Scene) -> None:
    """Both nodes have the rights of the path above: dom0's to write, their domain's to read."""
    told.stub(S, N)
    assert told.fake.rights(TARGET) == ("n0", f"r{S}")
    assert told.fake.rights(MODEL) == ("n0", f"r{N}")
    assert seen(told) == BOUND


@pytest.mark.parametrize("node", [TARGET, MODEL])
@pytest.mark.parametrize(
    ("rights", "believed"),
    [
        (("n0",), True),
        (("r0",), True),
        (("n0", f"r{S}", f"r{N}"), True),
        (("n0", "b0"), True),
        ((f"n{S}",), False),
        ((f"n{N}", "r0"), False),
        (("n0", f"b{S}"), False),
        (("n0", f"w{N}"), False),
        (("n0", f"r{S}", "w99"), False),
        (("w0",), False),
        (("b0", f"r{S}"), False),
        (("n01",), False),
    ],
)
def test_what_a_guest_could_write_is_not(
    told: Scene, node: str, rights: tuple[str, ...], believed: bool
) -> None:
    """Each node counts only if dom0 owns it and no other domain may write it."""
    told.stub(S, N)
    told.fake.tree.rights[node] = rights
    assert (seen(told) == BOUND) is believed


@pytest.mark.parametrize(
    ("node", "value"),
    [
        (TARGET, b""),
        (TARGET, b"0"),
        (TARGET, b"21"),
        (TARGET, b"22"),
        (TARGET, b"-20"),
        (TARGET, b" 20"),
        (TARGET, b"20\0"),
        (TARGET, b"20 "),
        (TARGET, b"99999"),
        (TARGET, b"32752"),
        (TARGET, b"9" * 4000),
        (TARGET, "\u0662\u0660".encode()),
        (TARGET, b"\xb2"),
        (MODEL, b"22"),
        (MODEL, b""),
        (f"/local/domain/{S}/vm", b"nothing"),
        (f"/local/domain/{N}/vm", b"/vm/"),
        (f"/local/domain/{N}/vm", b"\xff"),
    ],
)
def test_both_sides_must_agree(told: Scene, node: str, value: bytes) -> None:
    """A domain whose nodes name none, or disagree, is no device model."""
    told.stub(S, N)
    told.fake.nodes[node] = value
    assert seen(told) is None


@pytest.mark.parametrize("node", [TARGET, MODEL, f"/local/domain/{S}/vm", f"/local/domain/{N}/vm"])
def test_both_sides_must_be_there(told: Scene, node: str) -> None:
    """What is missing says nothing."""
    told.stub(S, N)
    told.fake.drop(node)
    assert seen(told) is None


def test_a_uuid_that_others_add_to(told: Scene) -> None:
    """Other toolstacks write more after the UUID, and capitals."""
    told.stub(S, N)
    told.fake.put(f"/local/domain/{N}/vm", f"/vm/{uuid_of(N).upper()}-1")
    assert seen(told) == BOUND


def test_a_guest_that_is_no_stub_domain_gets_no_nodes(told: Scene, daemon: Stub) -> None:
    """It gets no nodes, cannot make them, and what it writes elsewhere is nothing."""
    told.stub(S, N)
    told.domain(30)
    told.start_relay()
    until("the stub domain has nodes", lambda: told.rights(S, "reply") is not None)
    guest = told.guest(30)
    for path in ("maxmem/request", "maxmem", "target", f"/local/domain/{S}/maxmem/request"):
        with pytest.raises(PermissionError):
            guest.write(path, "a1 headroom 64")
    guest.write("data/maxmem/request", "a1 headroom 64")
    guest.write("data/target", str(N))
    told.stays("nothing is made", lambda: told.rights(30, "") is None)
    assert daemon.seen == []


def test_a_guest_that_owns_its_path(told: Scene, daemon: Stub) -> None:
    """Were a guest let to write its own path, and even SET_TARGET given: dom0 has to say it."""
    told.domain(N)
    told.domain(S)
    told.fake.tree.rights[f"/local/domain/{S}"] = (f"n{S}",)
    told.fake.tree.targets[S] = N
    told.start_relay()
    guest = told.guest(S)
    guest.write("target", str(N))
    guest.write("maxmem/request", "a1 headroom 64")
    with pytest.raises(PermissionError):
        guest.write(MODEL, str(S))
    told.fake.put(MODEL, str(S))
    told.stays("nothing is asked", lambda: daemon.seen == [])
    assert told.read(S, "reply") == ""


@pytest.mark.parametrize("first", ["target", "model"])
def test_the_order_of_naming(told: Scene, first: str) -> None:
    """Whichever node comes last, and long after the domains: it is seen then."""
    told.domain(N)
    told.domain(S)
    told.start_relay()
    nodes = [(TARGET, str(N)), (MODEL, str(S))]
    (one, other) = nodes if first == "target" else reversed(nodes)
    told.fake.put(*one)
    told.stays("half is not enough", lambda: told.rights(S, "") is None)
    told.fake.put(*other)
    until("it has nodes", lambda: told.rights(S, "request") == ("n0", f"b{S}"))


@pytest.mark.parametrize("node", [TARGET, MODEL])
def test_what_is_taken_back(told: Scene, node: str) -> None:
    """A domain that is no longer a device model has its nodes removed."""
    told.stub(S, N)
    told.start_relay()
    until("it has nodes", lambda: told.rights(S, "reply") is not None)
    told.fake.drop(node)
    until("it has none", lambda: told.rights(S, "") is None)


def test_what_was_taken_back_while_there_was_no_relay(told: Scene) -> None:
    """What an earlier relay made is taken away by the next."""
    told.stub(S, N)
    told.start_relay()
    until("it has nodes", lambda: told.rights(S, "reply") is not None)
    told.end_relay()
    told.fake.drop(TARGET)
    told.start_relay()
    until("it has none", lambda: told.rights(S, "") is None)


def test_rights_that_are_wrong_are_put_right(told: Scene) -> None:
    """Nodes that were there with other rights get the right ones, and keep what they say."""
    told.stub(S, N)
    told.fake.put(f"/local/domain/{S}/maxmem/request", "", "b0")
    told.fake.put(f"/local/domain/{S}/maxmem/reply", "a1 granted 4", "n0", f"b{S}")
    told.start_relay()
    until("they are right", lambda: told.rights(S, "request") == ("n0", f"b{S}"))
    assert told.rights(S, "reply") == ("n0", f"r{S}")
    assert told.read(S, "reply") == "a1 granted 4"


def test_watches_end_with_their_domains(told: Scene) -> None:
    """Domains that come and go leave no watch behind."""
    told.start_relay()
    (client,) = told.fake.clients
    for domid in range(100, 150, 2):
        told.stub(domid + 1, domid)
    until("two watches are for the host, four for a pair", lambda: len(client.watches) == 102)
    for domid in range(100, 150):
        told.destroy(domid)
    until("the watches have ended", lambda: len(client.watches) == 2)


def test_it_serves_another_once_the_first_is_gone(told: Scene) -> None:
    """A domain whose target was destroyed can be named again, as another's device model."""
    told.stub(S, N)
    told.start_relay()
    until("it has nodes", lambda: told.rights(S, "reply") is not None)
    told.destroy(N)
    until("it has none", lambda: told.rights(S, "") is None)
    later = N + 100
    told.domain(later)
    told.fake.put(f"/local/domain/{later}/image/device-model-domid", str(S))
    told.fake.put(TARGET, str(later))
    until("it has nodes", lambda: told.rights(S, "reply") is not None)
