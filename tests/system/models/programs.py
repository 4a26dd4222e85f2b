"""What the clients do: three at once, of up to four steps each."""

from errno import EIO

from maxmemd.policy.components import Key
from maxmemd.policy.wishes import (
    CREATED,
    MIGRATED_IN,
    Build,
    Increase,
    SetComponent,
    SetMaxMem,
    SetTarget,
)
from maxmemd.units import Memory
from tests.system.models.lab import Client, Do, Lab, Say, Step, Violation

ROM: Key = ("device-model", "rom")
NEWCOMER = "51a70000-0000-4000-8000-0000000000bb"
mib = Memory.of_mib


def mem_max(amount: int) -> Say:
    """Return xl mem-max."""
    return Say(f"mem-max {amount}", lambda _: SetMaxMem(mib(amount)))


def mem_set(amount: int) -> Say:
    """Return xl mem-set."""
    return Say(f"mem-set {amount}", lambda _: SetTarget(mib(amount)))


def more(kib: int) -> Say:
    """Return a device model's increase; it is always granted."""
    return Say(f"increase {kib}", lambda _: Increase(ROM, kib), granted=True)


def component(kib: int) -> Say:
    """Return a firmware's share, set outright."""
    key = ("toolstack", "firmware")
    return Say(f"firmware {kib}", lambda _: SetComponent(key, Memory(kib=kib)), granted=True)


def updates(steps: int) -> tuple[Client, ...]:
    """Return an operator, a device model, and a toolstack beside them."""
    operator = (mem_max(300), mem_set(100), mem_max(64), mem_set(120))
    model = (more(256), more(512), more(-256), more(2048))
    other = (component(64), mem_max(200), component(128), mem_set(80))
    return _clients(steps, operator=operator, qemu=model, toolstack=other)


def populate(lab: Lab) -> None:
    """Let the device model populate what it was granted: it fits, or QEMU dies."""
    lab.host.populate(lab.domid, 64)


def arrive(lab: Lab) -> None:
    """Create the destination's domain, as libxl does: it may hold nothing yet."""
    lab.notes["newcomer"] = lab.host.machine.create(
        lab.host.machine.domain(lab.domid).uuid, "pv", None
    )
    lab.host.nodes.add(lab.notes["newcomer"], lab.vm)
    lab.host.nodes.put(lab.notes["newcomer"], {"name": "vm--incoming"})


def stream(lab: Lab) -> None:
    """Bring over every page that the source holds by now."""
    source = lab.host.machine.domain(lab.domid)
    lab.host.populate(lab.notes["newcomer"], source.tot_pages)


def hand_over(lab: Lab) -> None:
    """Announce the destination, destroy the source, and let the destination run."""
    seen, newcomer = lab.host.nodes.facts(lab.domid), lab.notes["newcomer"]
    sizes = {"memory/target": seen.target, "memory/static-max": seen.static_max}
    nodes = {node: str(size.kib) for node, size in sizes.items() if size is not None}
    lab.host.destroy(lab.domid)
    lab.host.nodes.put(newcomer, {"name": "vm", **nodes})
    lab.host.unpause(newcomer)
    lab.domid = newcomer


def _arrived(lab: Lab) -> str:
    return str(lab.notes["newcomer"])


def fits(what: str, act: Do) -> Do:
    """Return a step that must not be refused a page."""

    def acted(lab: Lab) -> None:
        try:
            act.act(lab)
        except Exception as error:
            raise Violation(f"{what}: {error}") from error

    return Do(act.words, acted, act.apart)


def migration(steps: int) -> tuple[Client, ...]:
    """Return a migration to this very host, beside an operator and a device model."""
    announce = Say(
        "migrated-in 128", lambda _: Build(mib(128), MIGRATED_IN), ref=_arrived, granted=True
    )
    mover: tuple[Step, ...] = (
        Do("creates the destination", arrive, apart=True),
        announce,
        fits("the restore dies", Do("restores", stream)),
        Do("hands over", hand_over, apart=True),
    )
    operator = (mem_max(300), mem_max(200), mem_max(400), mem_max(250))
    model = (
        more(256),
        fits("QEMU dies", Do("populates 64 pages", populate)),
        more(256),
        fits("QEMU dies", Do("populates 64 pages", populate)),
    )
    return (*_clients(steps, operator=operator, qemu=model), Client("xl migrate", mover))


def foreign(steps: int) -> tuple[Client, ...]:
    """Return a program that writes maxima itself on a Xen that once does not do as it is told."""
    stranger: tuple[Step, ...] = (
        Do("sets 64 MiB by itself", lambda lab: lab.host.foreign_write(lab.domid, mib(64))),
        Do("Xen keeps a page less", lambda lab: lab.host.lie(lab.domid, -1)),
        Do("Xen is well again", lambda lab: lab.host.heal()),
        Do("sets 400 MiB by itself", lambda lab: lab.host.foreign_write(lab.domid, mib(400))),
    )
    operator = (mem_max(300), mem_set(100), mem_max(200), mem_set(120))
    model = (more(256), more(512), more(-256), more(2048))
    return (*_clients(steps, operator=operator, qemu=model), Client("a stranger", stranger[:steps]))


def troubles(steps: int) -> tuple[tuple[Client, ...], ...]:
    """Return three programs: an operator whose pushes meet two things that can go wrong at once.

    A stranger is met by an operator of the last one or two steps.
    """
    liar = Client("a liar", (
        Do("Xen keeps a page less", lambda lab: lab.host.lie(lab.domid, -1)),
        Do("Xen is well again", lambda lab: lab.host.heal()),
    ))  # fmt: skip
    refuser = Client("a refuser", (
        Do("Xen refuses", lambda lab: lab.host.fail("set_max_mem", EIO)),
        Do("Xen is well again", lambda lab: lab.host.heal()),
    ))  # fmt: skip
    stranger = Client("a stranger", (
        Do("sets 64 MiB by itself", lambda lab: lab.host.foreign_write(lab.domid, mib(64))),
        Do("destroys the domain", lambda lab: lab.host.destroy(lab.domid)),
    ))  # fmt: skip
    shrinks = (mem_max(300), mem_set(80))
    return (
        (Client("operator", (*shrinks, mem_max(200))), liar, refuser),
        (Client("operator", shrinks[-steps:]), liar, stranger),
        (Client("operator", shrinks[-steps:]), refuser, stranger),
    )


def nodes_lost(what: str) -> tuple[Client, ...]:
    """Return an operator beside a program that takes the domain's nodes away, or spoils them."""
    acts = {
        "path": lambda lab: lab.host.nodes.remove(lab.domid),
        "vm": lambda lab: lab.host.nodes.drop(lab.domid, "vm"),
        "target": lambda lab: lab.host.nodes.put(lab.domid, {"memory/target": "-1"}),
        "no target": lambda lab: lab.host.nodes.drop(lab.domid, "memory/target"),
    }
    spoiler = (Do(f"takes the {what} away", acts[what]),)
    operator = (mem_max(300), mem_max(200), mem_max(64))
    return Client("operator", operator), Client("a spoiler", spoiler)


def build_begins(lab: Lab) -> None:
    """Create a domain that was never here, as libxl does: it may hold nothing yet."""
    lab.notes["newcomer"] = lab.host.machine.create(NEWCOMER, "pv", None)
    lab.host.nodes.add(lab.notes["newcomer"], NEWCOMER)
    lab.host.nodes.put(lab.notes["newcomer"], {"name": "newcomer"})


def build_ends(lab: Lab) -> None:
    """Let it run."""
    lab.host.unpause(lab.notes["newcomer"])


def builds() -> tuple[Client, ...]:
    """Return a build of a new domain, and a toolstack that announces it at some time, or late."""
    builder = (
        Do("creates a domain", build_begins, apart=True),
        Do("lets it run", build_ends, apart=True),
    )
    announcer = (
        Do("waits for it", lambda lab: None, apart=True),
        Say("created 128", lambda _: Build(mib(128), CREATED), ref=lambda _: NEWCOMER),
    )
    return Client("xl create", builder), Client("a toolstack", announcer)


def _clients(steps: int, **programs: tuple[Step, ...]) -> tuple[Client, ...]:
    return tuple(Client(name, program[:steps]) for name, program in programs.items())
