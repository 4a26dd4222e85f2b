"""Model 1's server: one arbiter, which decides, records, pushes and reads back in turn."""

from models.races.actors import ModelActor, StepResult
from models.races.host import CONSTANT, ModelHost

NAME = "the arbiter"


class ModelArbiter:
    """One turn at a time: decide, record, push, read back and answer; after a death, heal.

    The destination of a migration is raised before its source, and never lowered until it is
    the domain.
    """

    def __init__(self, actors: tuple[ModelActor, ...], ceiling: int | None) -> None:
        self._actors, self._ceiling = actors, ceiling

    def __call__(self, host: ModelHost) -> StepResult | None:
        """Return the next step, if there is one."""
        if host.doing == "idle" and host.asked:
            return self._decide(host)
        if host.doing == "decided":
            recorded = host._replace(ledger=host.plan, plan=(), doing="recorded")
            return StepResult(f"records it: {_sum(host.plan)}", recorded)
        if host.doing == "down":
            return StepResult("starts again and reads its ledger", host._replace(doing="healing"))
        return self._push(host)

    def _decide(self, host: ModelHost) -> StepResult:
        me = host.asked[0]
        actor, plan = self._actors[me], list(host.ledger)
        if actor.kind == "word":
            plan[0] = actor.amount
        elif actor.kind == "bump":
            plan[me + 1] += actor.amount
        if self._ceiling is not None and sum(plan) + CONSTANT > self._ceiling:
            words = f"refuses {actor.name}: {sum(plan) + CONSTANT} is above {self._ceiling}"
            refused = host._replace(asked=host.asked[1:], refused=host.refused | {me})
            return StepResult(words, refused)
        decided = host._replace(plan=tuple(plan), doing="decided")
        return StepResult(f"decides for {actor.name}", decided)

    def _push(self, host: ModelHost) -> StepResult | None:
        """Bring Xen to the ledger, then answer the client or go on serving."""
        whole = sum(host.ledger) + CONSTANT
        if host.incoming is not None and whole > sum(host.incoming):
            raised = host._replace(incoming=(whole,))
            return StepResult(f"raises the destination's maximum to {whole}", raised)
        if host.maximum != whole and host.ledger[0]:
            return StepResult(f"sets the maximum to {whole}", host._replace(xen=(whole,)))
        if host.doing == "recorded":
            return self._answer(host)
        if host.doing == "healing":
            return StepResult("serves again", host._replace(doing="idle"))
        return None

    def _answer(self, host: ModelHost) -> StepResult:
        me = host.asked[0]
        answered = host.answered | {me}
        read = host._replace(asked=host.asked[1:], answered=answered, doing="idle")
        return StepResult(f"reads back {host.maximum} and answers {self._actors[me].name}", read)


def _sum(plan: tuple[int, ...]) -> str:
    parts = [plan[0], CONSTANT, *(share for share in plan[1:] if share)]
    return " + ".join(map(str, parts)) + f" = {sum(parts)}"
