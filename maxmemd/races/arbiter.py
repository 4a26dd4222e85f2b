"""Model 1: every actor asks one arbiter, which decides, records, pushes and reads back in turn."""

from maxmemd.races.explorer import Actor, Taken
from maxmemd.races.libxl import restored
from maxmemd.races.world import BUILT_WITH, CONSTANT, World, is_announced

NAME = "the arbiter"
DOWN = ("down", "healing")


def word(verb: str, amount: int) -> Actor:
    """Return xl mem-set or mem-max: one wish, which replaces the operator's last."""
    return _client(f"xl {verb} {amount // 1024}", "word", amount, f"asks for {amount}")


def bump(amount: int) -> Actor:
    """Return a device model that asks for so much more."""
    return _client(f"device model (+{amount})", "bump", amount, f"asks {amount} more")


def build() -> Actor:
    """Return xl create, which announces what it builds; before that nobody can name it."""

    def announce(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if world.doing in DOWN:
            return None
        words = f"announces a domain of {BUILT_WITH}"
        return Taken(words, world._replace(asked=(*world.asked, me)))

    def make(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if me not in world.answered:
            return None
        made = world._replace(target=BUILT_WITH, static_max=BUILT_WITH)
        return Taken("populates the domain and writes its nodes to xenstore", made)

    return Actor("xl create", "word", BUILT_WITH, (announce, make))


def migrate() -> Actor:
    """Return xl migrate: it announces the destination, restores, and destroys the source."""

    def announce(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if not _is_up(world):
            return None
        made = world._replace(incoming=(0,), asked=(*world.asked, me))
        return Taken("creates the destination and announces it to the arbiter", made)

    def stream(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if me not in world.answered:
            return None
        return restored(world, ())

    def hand_over(world: World, _: int, __: tuple[int, ...]) -> Taken | None:
        moved = world._replace(xen=world.incoming or (), incoming=None, life=world.life + 1)
        return Taken("destroys the source: the destination is the domain now", moved)

    return Actor("xl migrate", "move", 0, (announce, stream, hand_over))


class Arbiter:
    """One turn at a time: decide, record, push, read back and answer; after a death, heal.

    The destination of a migration is raised before its source, and never lowered until it is
    the domain.
    """

    def __init__(self, actors: tuple[Actor, ...], ceiling: int | None) -> None:
        self._actors, self._ceiling = actors, ceiling

    def __call__(self, world: World) -> Taken | None:
        """Take the next step, if there is one."""
        if world.doing == "idle" and world.asked:
            return self._decide(world)
        if world.doing == "decided":
            recorded = world._replace(ledger=world.plan, plan=(), doing="recorded")
            return Taken(f"records it: {_sum(world.plan)}", recorded)
        if world.doing == "down":
            return Taken("starts again and reads its ledger", world._replace(doing="healing"))
        return self._push(world)

    def _decide(self, world: World) -> Taken:
        me = world.asked[0]
        actor, plan = self._actors[me], list(world.ledger)
        if actor.kind == "word":
            plan[0] = actor.amount
        elif actor.kind == "bump":
            plan[me + 1] += actor.amount
        if self._ceiling is not None and sum(plan) + CONSTANT > self._ceiling:
            words = f"refuses {actor.name}: {sum(plan) + CONSTANT} is above {self._ceiling}"
            refused = world._replace(asked=world.asked[1:], refused=world.refused | {me})
            return Taken(words, refused)
        decided = world._replace(plan=tuple(plan), doing="decided")
        return Taken(f"decides for {actor.name}", decided)

    def _push(self, world: World) -> Taken | None:
        """Bring Xen to the ledger; then answer whoever asked, or serve on."""
        whole = sum(world.ledger) + CONSTANT
        if world.incoming is not None and whole > sum(world.incoming):
            raised = world._replace(incoming=(whole,))
            return Taken(f"raises the destination's maximum to {whole}", raised)
        if world.maximum != whole and world.ledger[0]:
            return Taken(f"sets the maximum to {whole}", world._replace(xen=(whole,)))
        if world.doing == "recorded":
            return self._answer(world)
        if world.doing == "healing":
            return Taken("serves again", world._replace(doing="idle"))
        return None

    def _answer(self, world: World) -> Taken:
        me = world.asked[0]
        answered = world.answered | {me}
        read = world._replace(asked=world.asked[1:], answered=answered, doing="idle")
        return Taken(f"reads back {world.maximum} and answers {self._actors[me].name}", read)


def _client(name: str, kind: str, amount: int, words: str) -> Actor:
    def ask(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if not _is_up(world):
            return None
        return Taken(words, world._replace(asked=(*world.asked, me)))

    def hear(world: World, me: int, _: tuple[int, ...]) -> Taken | None:
        if me in world.refused:
            return Taken("is refused", world, refused=True)
        if me not in world.answered:
            return None
        if kind == "bump":
            return Taken("is answered", world._replace(populated=world.populated + amount))
        return Taken("is answered", world)

    return Actor(name, kind, amount, (ask, hear))


def _is_up(world: World) -> bool:
    return world.doing not in DOWN and is_announced(world)


def _sum(plan: tuple[int, ...]) -> str:
    parts = [plan[0], CONSTANT, *(share for share in plan[1:] if share)]
    return " + ".join(map(str, parts)) + f" = {sum(parts)}"
