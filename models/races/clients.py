"""Model 1's actors: each asks the arbiter, and waits for its answer."""

from models.races.actors import ModelActor, StepResult
from models.races.host import BUILT_WITH, ModelHost, is_announced
from models.races.libxl import restore_step


def word(verb: str, amount: int) -> ModelActor:
    """Return xl mem-set or mem-max: one wish, which replaces the operator's last."""
    return _client(f"xl {verb} {amount // 1024}", "word", amount, f"asks for {amount}")


def bump(amount: int) -> ModelActor:
    """Return a device model that asks for `amount` more."""
    return _client(f"device model (+{amount})", "bump", amount, f"asks {amount} more")


def build() -> ModelActor:
    """Return xl create, which announces its domain before it builds it and writes its nodes."""

    def announce(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if not host.is_arbiter_up:
            return None
        words = f"announces a domain of {BUILT_WITH}"
        return StepResult(words, host._replace(asked=(*host.asked, me)))

    def make(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if me not in host.answered:
            return None
        made = host._replace(target=BUILT_WITH, static_max=BUILT_WITH)
        return StepResult("populates the domain and writes its nodes to xenstore", made)

    return ModelActor("xl create", "word", BUILT_WITH, (announce, make))


def migrate() -> ModelActor:
    """Return xl migrate: it announces the destination, restores, and destroys the source."""

    def announce(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if not _can_ask(host):
            return None
        made = host._replace(incoming=(0,), asked=(*host.asked, me))
        return StepResult("creates the destination and announces it to the arbiter", made)

    def stream(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if me not in host.answered:
            return None
        return restore_step(host, ())

    def hand_over(host: ModelHost, _: int, __: tuple[int, ...]) -> StepResult | None:
        moved = host._replace(xen=host.incoming or (), incoming=None, life=host.life + 1)
        return StepResult("destroys the source: the destination is the domain now", moved)

    return ModelActor("xl migrate", "move", 0, (announce, stream, hand_over))


def _client(name: str, kind: str, amount: int, words: str) -> ModelActor:
    def ask(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if not _can_ask(host):
            return None
        return StepResult(words, host._replace(asked=(*host.asked, me)))

    def take_answer(host: ModelHost, me: int, _: tuple[int, ...]) -> StepResult | None:
        if me in host.refused:
            return StepResult("is refused", host, refused=True)
        if me not in host.answered:
            return None
        if kind == "bump":
            return StepResult("is answered", host._replace(populated=host.populated + amount))
        return StepResult("is answered", host)

    return ModelActor(name, kind, amount, (ask, take_answer))


def _can_ask(host: ModelHost) -> bool:
    return host.is_arbiter_up and is_announced(host)
