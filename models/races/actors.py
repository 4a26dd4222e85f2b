"""An actor: a program of steps, each of which takes the host from one state to the next."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from models.races.host import ModelHost


class Status(Enum):
    """How far an actor is. A refused one knows it; what a crashed one has done is not known."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    CRASHED = "crashed"


class StepResult(NamedTuple):
    """A step that was taken: in words, the host after it, and what the actor knows now."""

    words: str
    host: ModelHost
    memory: tuple[int, ...] = ()
    refused: bool = False


Step = Callable[[ModelHost, int, tuple[int, ...]], StepResult | None]
"""A step of an actor: the host, its own number, and what it knows; None when it has to wait."""


@dataclass(frozen=True, slots=True)
class ModelActor:
    """A program of steps. `kind` is word, bump or move; a word is the operator's, a bump adds."""

    name: str
    kind: str
    amount: int
    steps: tuple[Step, ...]
