"""libxl and QEMU as actors: what they read, what they write, in their order (models 2, 3 and 4).

Sources: libxl_mem.c:libxl_domain_setmaxmem, libxl_set_memory_target; libxl_dom.c:libxl__build_pre,
libxl__build_post; libxl_domain.c:libxl_retrieve_domain_configuration; QEMU c1d322e604.
"""

from dataclasses import dataclass
from typing import Literal

from maxmemd.races.explorer import Actor, Step, Taken
from maxmemd.races.world import BUILT_WITH, CONSTANT, World, is_announced

Way = Literal["recompute", "modify", "add", "parts"]


@dataclass(frozen=True, slots=True)
class Setting:
    """How these actors come to a maximum.

    `recompute`: word + constant. `modify`: Xen's number, read, changed and written back. `add`:
    Xen adds. `parts`: Xen keeps a number for each owner. `constants` are those of the versions
    of libxl that run, the last of which built the domain; `locks` says whether libxl takes its
    userdata lock. `ceiling` is what the whole may come to, and every actor looks before it writes.
    """

    way: Way
    constants: tuple[int, ...] = (CONSTANT,)
    locks: bool = False
    ceiling: int | None = None

    def constant(self, number: int) -> int:
        """Return the constant of the libxl that an actor uses."""
        return self.constants[number % len(self.constants)]

    def version(self, number: int) -> str:
        """Return which libxl an actor uses, where there are several."""
        return f" (libxl {'AB'[number % 2]})" if len(self.constants) > 1 else ""


def mem_set(setting: Setting, number: int, amount: int) -> Actor:
    """Return xl mem-set: it reads target and maximum, sets Xen's, writes the target."""

    def read(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if not _may_begin(setting, world):
            return None
        lock = _locked(setting, world, me)
        target, static_max = world.target or 0, world.static_max or 0
        words = f"{_takes(setting)}reads target {target}, maximum {world.maximum}"
        whole = _foreseen(setting, world, amount, me)
        if amount > static_max or _is_too_much(setting, whole):
            return Taken(f"{words} and refuses", world, refused=True)
        return Taken(words, lock, (world.life, target, world.maximum, world.base))

    def set_xen(world: World, me: int, memory: tuple[int, ...]) -> Taken | None:
        _, target, maximum, base = memory
        whole = amount + setting.constant(me)
        if setting.way == "modify":
            whole = maximum - target + amount
        return _wrote(setting, world, memory, whole, amount - base)

    def write_node(world: World, me: int, memory: tuple[int, ...]) -> Taken | None:
        if world.life != memory[0]:
            return _gone(setting, world, me)
        written = world._replace(target=amount, base=amount)
        words = f"writes target {amount} to xenstore{_gives(setting)}"
        return Taken(words, _unlocked(setting, written, me))

    name = f"xl mem-set {amount // 1024}{setting.version(number)}"
    return Actor(name, "word", amount, (read, set_xen, write_node))


def mem_max(setting: Setting, number: int, amount: int) -> Actor:
    """Return xl mem-max: it checks the target, sets Xen's maximum outright, writes static-max."""

    def read(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if not _may_begin(setting, world):
            return None
        target = world.target or 0
        words = f"{_takes(setting)}reads target {target}"
        if amount < target or _is_too_much(setting, amount + setting.constant(me)):
            return Taken(f"{words} and refuses", world, refused=True)
        return Taken(words, _locked(setting, world, me), (world.life, world.base))

    def set_xen(world: World, me: int, memory: tuple[int, ...]) -> Taken | None:
        return _wrote(setting, world, memory, amount + setting.constant(me), amount - memory[1])

    def write_node(world: World, me: int, memory: tuple[int, ...]) -> Taken | None:
        if world.life != memory[0]:
            return _gone(setting, world, me)
        written = world._replace(static_max=amount, base=amount)
        words = f"writes static-max {amount} to xenstore{_gives(setting)}"
        return Taken(words, _unlocked(setting, written, me))

    name = f"xl mem-max {amount // 1024}{setting.version(number)}"
    return Actor(name, "word", amount, (read, set_xen, write_node))


def build(setting: Setting, number: int, amount: int = BUILT_WITH) -> Actor:
    """Return xl create: it sets the maximum from the target, and announces the domain last."""
    constant = setting.constants[-1]
    version = setting.version(len(setting.constants) - 1) or setting.version(number)

    def set_xen(world: World, _: int, __: tuple[int, ...]) -> Taken | None:
        whole = amount + constant
        return Taken(f"sets the maximum to {whole}", world._replace(xen=_whole(world, whole)))

    def announce(world: World, _: int, __: tuple[int, ...]) -> Taken | None:
        written = world._replace(target=amount, static_max=amount, base=amount)
        return Taken(f"writes target and static-max {amount} to xenstore", written)

    return Actor(f"xl create{version}", "word", amount, (set_xen, announce))


def bump(setting: Setting, number: int, amount: int) -> Actor:
    """Return a device model that makes room for itself; it knows nothing of libxl's lock."""
    part = number + 1

    def read(world: World, _: int, __: tuple[int, ...]) -> Taken | None:
        if not is_announced(world):
            return None
        words = f"reads the maximum: {world.maximum}"
        if _is_too_much(setting, world.maximum + amount):
            return Taken(f"{words}, too much with {amount} more, and gives up", world, refused=True)
        return Taken(words, world, (world.life, world.maximum))

    def write(world: World, _: int, memory: tuple[int, ...]) -> Taken | None:
        life, seen = memory
        if world.life != life:
            return Taken("cannot: its domain is gone", world, refused=True)
        return _bumped(setting, world, part, amount, seen)

    reads = (read,) if setting.way == "modify" or setting.ceiling is not None else ()
    steps: tuple[Step, ...] = (*reads, write) if reads else (_at_once(write),)
    return Actor(f"device model (+{amount})", "bump", amount, steps)


def migrate(setting: Setting, number: int) -> Actor:
    """Return xl migrate: it computes the destination's maximum anew from xenstore."""

    def retrieve(world: World, _: int, __: tuple[int, ...]) -> Taken | None:
        if not _may_begin(setting, world):
            return None
        target, static_max = world.target or 0, world.static_max or 0
        words = f"reads target {target} and static-max {static_max} from xenstore"
        return Taken(words, world, (target, static_max))

    def make(world: World, me: int, memory: tuple[int, ...]) -> Taken | None:
        whole = memory[0] + setting.constant(me)
        words = f"builds the destination with a maximum of {whole}"
        return Taken(words, world._replace(incoming=_whole(world, whole)), memory)

    def stream(world: World, _: int, memory: tuple[int, ...]) -> Taken | None:
        return restored(world, memory)

    def hand_over(world: World, _: int, memory: tuple[int, ...]) -> Taken | None:
        moved = world._replace(xen=world.incoming or (), incoming=None, life=world.life + 1)
        moved = moved._replace(target=memory[0], static_max=memory[1], base=memory[0], lock=None)
        return Taken("destroys the source: the destination is the domain now", moved)

    name = f"xl migrate{setting.version(number)}"
    return Actor(name, "move", 0, (retrieve, make, stream, hand_over))


def restored(world: World, memory: tuple[int, ...]) -> Taken:
    """Bring over what the source holds; what does not fit kills the restore (assign_pages)."""
    allowed = sum(world.incoming or ())
    words = f"restores {world.held} into {allowed}"
    if world.held > allowed:
        died = world._replace(incoming=None)
        return Taken(f"{words}: over-allocation, the restore dies", died, refused=True)
    return Taken(words, world, memory)


def _may_begin(setting: Setting, world: World) -> bool:
    return is_announced(world) and not (setting.locks and world.lock is not None)


def _foreseen(setting: Setting, world: World, amount: int, me: int) -> int:
    """Return what the whole would be with a new word, as far as this actor can see."""
    if setting.way == "modify":
        return world.maximum - (world.target or 0) + amount
    if setting.way == "add":
        return world.maximum - world.base + amount
    return amount + setting.constant(me) + sum(world.xen[1:])


def _is_too_much(setting: Setting, whole: int) -> bool:
    return setting.ceiling is not None and whole > setting.ceiling


def _wrote(
    setting: Setting, world: World, memory: tuple[int, ...], whole: int, delta: int
) -> Taken:
    """Bring a word to Xen in the model's way."""
    if world.life != memory[0]:
        return Taken("cannot: the domain is gone", world, refused=True)
    if setting.way == "add":
        added = (world.maximum + delta,)
        words = f"adds {delta:+} to the maximum: {added[0]}"
        return Taken(words, world._replace(xen=added), memory)
    if setting.way == "parts":
        words = f"sets the toolstack's part to {whole}"
        return Taken(words, world._replace(xen=(whole, *world.xen[1:])), memory)
    return Taken(f"sets the maximum to {whole}", world._replace(xen=(whole,)), memory)


def _bumped(setting: Setting, world: World, part: int, amount: int, seen: int) -> Taken:
    held = world._replace(populated=world.populated + amount)
    if setting.way == "modify":
        words = f"sets the maximum to {seen + amount}"
        return Taken(words, held._replace(xen=(seen + amount,)))
    if setting.way == "add":
        words = f"adds {amount} to the maximum: {world.maximum + amount}"
        return Taken(words, held._replace(xen=(world.maximum + amount,)))
    parts = (*world.xen[:part], amount, *world.xen[part + 1 :])
    return Taken(f"sets its own part to {amount}", held._replace(xen=parts))


def _at_once(step: Step) -> Step:
    """Return a first and only step, which nothing was read before."""

    def begin(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        return step(world, me, (world.life, 0)) if is_announced(world) else None

    return begin


def _whole(world: World, whole: int) -> tuple[int, ...]:
    """Return a fresh domain's maximum: only the toolstack has set anything."""
    return (whole, *(0 for _ in world.xen[1:]))


def _gone(setting: Setting, world: World, me: int) -> Taken:
    return Taken("cannot: the domain is gone", _unlocked(setting, world, me), refused=True)


def _takes(setting: Setting) -> str:
    return "takes libxl's lock, " if setting.locks else ""


def _gives(setting: Setting) -> str:
    return ", gives the lock back" if setting.locks else ""


def _locked(setting: Setting, world: World, me: int) -> World:
    return world._replace(lock=me) if setting.locks else world


def _unlocked(setting: Setting, world: World, me: int) -> World:
    return world._replace(lock=None) if setting.locks and world.lock == me else world
