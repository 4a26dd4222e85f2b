"""libxl and QEMU as actors: what they read, what they write, in their order (models 2, 3 and 4).

Sources: libxl_mem.c:libxl_domain_setmaxmem, libxl_set_memory_target; libxl_dom.c:libxl__build_pre,
libxl__build_post; libxl_domain.c:libxl_retrieve_domain_configuration; QEMU c1d322e604.
"""

from dataclasses import dataclass
from typing import Literal

from models.races.actors import ModelActor, Step, StepResult
from models.races.host import BUILT_WITH, CONSTANT, ModelHost, is_announced

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


def mem_set(setting: Setting, number: int, amount: int) -> ModelActor:
    """Return xl mem-set: it reads target and maximum, sets Xen's, writes the target."""

    def read(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if not _can_begin(setting, host):
            return None
        lock = _locked(setting, host, me)
        target, static_max = host.target or 0, host.static_max or 0
        words = f"{_lock_words(setting)}reads target {target}, maximum {host.maximum}"
        whole = _foreseen(setting, host, amount, me)
        if amount > static_max or _is_too_much(setting, whole):
            return StepResult(f"{words} and refuses", host, refused=True)
        return StepResult(words, lock, (host.life, target, host.maximum, host.base))

    def set_xen(host: ModelHost, me: int, memory: tuple[int, ...]) -> StepResult | None:
        _, target, maximum, base = memory
        whole = amount + setting.constant(me)
        if setting.way == "modify":
            whole = maximum - target + amount
        return _write_maximum(setting, host, memory, whole, amount - base)

    def write_node(host: ModelHost, me: int, memory: tuple[int, ...]) -> StepResult | None:
        if host.life != memory[0]:
            return _fail_for_gone_domain(setting, host, me)
        written = host._replace(target=amount, base=amount)
        words = f"writes target {amount} to xenstore{_unlock_words(setting)}"
        return StepResult(words, _unlocked(setting, written, me))

    name = f"xl mem-set {amount // 1024}{setting.version(number)}"
    return ModelActor(name, "word", amount, (read, set_xen, write_node))


def mem_max(setting: Setting, number: int, amount: int) -> ModelActor:
    """Return xl mem-max: it checks the target, sets Xen's maximum outright, writes static-max."""

    def read(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if not _can_begin(setting, host):
            return None
        target = host.target or 0
        words = f"{_lock_words(setting)}reads target {target}"
        if amount < target or _is_too_much(setting, amount + setting.constant(me)):
            return StepResult(f"{words} and refuses", host, refused=True)
        return StepResult(words, _locked(setting, host, me), (host.life, host.base))

    def set_xen(host: ModelHost, me: int, memory: tuple[int, ...]) -> StepResult | None:
        return _write_maximum(
            setting, host, memory, amount + setting.constant(me), amount - memory[1]
        )

    def write_node(host: ModelHost, me: int, memory: tuple[int, ...]) -> StepResult | None:
        if host.life != memory[0]:
            return _fail_for_gone_domain(setting, host, me)
        written = host._replace(static_max=amount, base=amount)
        words = f"writes static-max {amount} to xenstore{_unlock_words(setting)}"
        return StepResult(words, _unlocked(setting, written, me))

    name = f"xl mem-max {amount // 1024}{setting.version(number)}"
    return ModelActor(name, "word", amount, (read, set_xen, write_node))


def build(setting: Setting, number: int, amount: int = BUILT_WITH) -> ModelActor:
    """Return xl create: it sets the maximum from the target, and announces the domain last."""
    constant = setting.constants[-1]
    version = setting.version(len(setting.constants) - 1) or setting.version(number)

    def set_xen(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult | None:
        whole = amount + constant
        return StepResult(f"sets the maximum to {whole}", host._replace(xen=_whole(host, whole)))

    def announce(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult | None:
        written = host._replace(target=amount, static_max=amount, base=amount)
        return StepResult(f"writes target and static-max {amount} to xenstore", written)

    return ModelActor(f"xl create{version}", "word", amount, (set_xen, announce))


def bump(setting: Setting, number: int, amount: int) -> ModelActor:
    """Return a device model that makes room for itself; it knows nothing of libxl's lock."""
    part = number + 1

    def read(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult | None:
        if not is_announced(host):
            return None
        words = f"reads the maximum: {host.maximum}"
        if _is_too_much(setting, host.maximum + amount):
            return StepResult(
                f"{words}, too much with {amount} more, and gives up", host, refused=True
            )
        return StepResult(words, host, (host.life, host.maximum))

    def write(host: ModelHost, _: int, memory: tuple[int, ...]) -> StepResult | None:
        life, seen = memory
        if host.life != life:
            return StepResult("cannot: its domain is gone", host, refused=True)
        return _write_bump(setting, host, part, amount, seen)

    reads = (read,) if setting.way == "modify" or setting.ceiling is not None else ()
    steps: tuple[Step, ...] = (*reads, write) if reads else (_at_once(write),)
    return ModelActor(f"device model (+{amount})", "bump", amount, steps)


def migrate(setting: Setting, number: int) -> ModelActor:
    """Return xl migrate: it computes the destination's maximum from xenstore."""

    def retrieve(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult | None:
        if not _can_begin(setting, host):
            return None
        target, static_max = host.target or 0, host.static_max or 0
        words = f"reads target {target} and static-max {static_max} from xenstore"
        return StepResult(words, host, (target, static_max))

    def make(host: ModelHost, me: int, memory: tuple[int, ...]) -> StepResult | None:
        whole = memory[0] + setting.constant(me)
        words = f"builds the destination with a maximum of {whole}"
        return StepResult(words, host._replace(incoming=_whole(host, whole)), memory)

    def stream(host: ModelHost, _: int, memory: tuple[int, ...]) -> StepResult | None:
        return restore_step(host, memory)

    def hand_over(host: ModelHost, _: int, memory: tuple[int, ...]) -> StepResult | None:
        moved = host._replace(xen=host.incoming or (), incoming=None, life=host.life + 1)
        moved = moved._replace(target=memory[0], static_max=memory[1], base=memory[0], lock=None)
        return StepResult("destroys the source: the destination is the domain now", moved)

    name = f"xl migrate{setting.version(number)}"
    return ModelActor(name, "move", 0, (retrieve, make, stream, hand_over))


def restore_step(host: ModelHost, memory: tuple[int, ...]) -> StepResult:
    """Bring over what the source holds; what does not fit kills the restore (assign_pages)."""
    allowed = sum(host.incoming or ())
    words = f"restores {host.held} into {allowed}"
    if host.held > allowed:
        died = host._replace(incoming=None)
        return StepResult(f"{words}: over-allocation, the restore dies", died, refused=True)
    return StepResult(words, host, memory)


def _can_begin(setting: Setting, host: ModelHost) -> bool:
    return is_announced(host) and not (setting.locks and host.lock is not None)


def _foreseen(setting: Setting, host: ModelHost, amount: int, me: int) -> int:
    """Return what the whole would be with a new word, as far as this actor can see."""
    if setting.way == "modify":
        return host.maximum - (host.target or 0) + amount
    if setting.way == "add":
        return host.maximum - host.base + amount
    return amount + setting.constant(me) + sum(host.xen[1:])


def _is_too_much(setting: Setting, whole: int) -> bool:
    return setting.ceiling is not None and whole > setting.ceiling


def _write_maximum(
    setting: Setting, host: ModelHost, memory: tuple[int, ...], whole: int, delta: int
) -> StepResult:
    """Bring a word to Xen in the model's way."""
    if host.life != memory[0]:
        return StepResult("cannot: the domain is gone", host, refused=True)
    if setting.way == "add":
        added = (host.maximum + delta,)
        words = f"adds {delta:+} to the maximum: {added[0]}"
        return StepResult(words, host._replace(xen=added), memory)
    if setting.way == "parts":
        words = f"sets the toolstack's part to {whole}"
        return StepResult(words, host._replace(xen=(whole, *host.xen[1:])), memory)
    return StepResult(f"sets the maximum to {whole}", host._replace(xen=(whole,)), memory)


def _write_bump(setting: Setting, host: ModelHost, part: int, amount: int, seen: int) -> StepResult:
    held = host._replace(populated=host.populated + amount)
    if setting.way == "modify":
        words = f"sets the maximum to {seen + amount}"
        return StepResult(words, held._replace(xen=(seen + amount,)))
    if setting.way == "add":
        words = f"adds {amount} to the maximum: {host.maximum + amount}"
        return StepResult(words, held._replace(xen=(host.maximum + amount,)))
    parts = (*host.xen[:part], amount, *host.xen[part + 1 :])
    return StepResult(f"sets its own part to {amount}", held._replace(xen=parts))


def _at_once(step: Step) -> Step:
    """Return a first and only step, which nothing was read before."""

    def begin(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        return step(host, me, (host.life, 0)) if is_announced(host) else None

    return begin


def _whole(host: ModelHost, whole: int) -> tuple[int, ...]:
    """Return a fresh domain's maximum: only the toolstack has set anything."""
    return (whole, *(0 for _ in host.xen[1:]))


def _fail_for_gone_domain(setting: Setting, host: ModelHost, me: int) -> StepResult:
    return StepResult("cannot: the domain is gone", _unlocked(setting, host, me), refused=True)


def _lock_words(setting: Setting) -> str:
    return "takes libxl's lock, " if setting.locks else ""


def _unlock_words(setting: Setting) -> str:
    return ", gives the lock back" if setting.locks else ""


def _locked(setting: Setting, host: ModelHost, me: int) -> ModelHost:
    return host._replace(lock=me) if setting.locks else host


def _unlocked(setting: Setting, host: ModelHost, me: int) -> ModelHost:
    return host._replace(lock=None) if setting.locks and host.lock == me else host
