"""Every schedule of a lab: who steps next, where the daemon dies. Equal moments are met once."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from tests.system.models.lab import Crashed, Do, Lab, Say, Violation, copied

GO, CRASH = -1, -2
"""What can be chosen before a call of a port beside a client's number: go on, or die."""

CHANGES = frozenset({"commit", "set_max_mem", "set_pod_target", "write", "answer"})
"""Dying before a call that only reads is dying before the next one that changes something."""


class Pruned(BaseException):
    """The moment was met before."""


@dataclass
class Found:
    """What was explored; `violation` with its history, if there is one."""

    states: int = 0
    runs: int = 0
    ends: int = 0
    violation: str | None = None
    history: tuple[str, ...] = ()


@dataclass
class Schedule:
    """The choices within one turn: a prefix that is given, and then always to go on.

    What else could have been chosen after the prefix is in `branches`.
    """

    prefix: deque[int]
    met: set[Hashable]
    made: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    branches: list[tuple[int, ...]] = field(default_factory=list)
    calls: int = 0

    def __call__(self, lab: Lab, verb: str) -> None:
        """Let the chosen client act before this call."""
        self.calls += 1
        while True:
            others = self._others(lab, verb)
            if not others:
                return
            choice = self._choose(lab, others)
            if choice == GO:
                return
            if choice == CRASH:
                self.words.append(f"the daemon dies before {verb}")
                raise Crashed
            self.words.append(f"  before {verb}: {said(lab, choice)}")
            step(lab, choice)

    def _choose(self, lab: Lab, others: list[int]) -> int:
        if self.prefix:
            choice = self.prefix.popleft()
        else:
            key = (self.calls, repr(lab.heard), lab.world())
            if key in self.met:
                raise Pruned
            self.met.add(key)
            self.branches += [(*self.made, other) for other in others]
            choice = GO
        self.made.append(choice)
        return choice

    @staticmethod
    def _others(lab: Lab, verb: str) -> list[int]:
        found = [n for n in may_step(lab) if _is_within(lab, n)]
        return [*found, CRASH] if lab.crashes_left and verb in CHANGES else found


def explore(
    lab: Lab, check: Callable[[Lab], None], *, deep: bool = False, every_way: bool = False
) -> Found:
    """Visit every moment that can be reached; `check` looks at every end.

    The nearest first, so that a violation's history is short; `deep` needs less memory. A moment
    is met once, or, `every_way`, once for each way that leads there.
    """
    found = Found()
    seen: set[Hashable] = {_hashed(lab.key())}
    queue: deque[tuple[Lab, tuple[str, ...]]] = deque([(lab, ())])
    while queue:
        now, history = queue.pop() if deep else queue.popleft()
        found.states += 1
        reached = _next(now, found)
        if not reached:
            found.ends += 1
            try:
                check(now)
                now.settled()
            except Violation as violation:
                found.violation, found.history = str(violation), history
                return found
        for then, words, violation in reached:
            if violation is not None:
                found.violation, found.history = violation, (*history, *words)
                return found
            key = _hashed(then.key())
            if every_way or key not in seen:
                seen.add(key)
                queue.append((then, (*history, *words)))
    return found


Reached = list[tuple[Lab, tuple[str, ...], str | None]]


def _next(now: Lab, found: Found) -> Reached:
    """Return what can follow: the lab, in words how, and a violation where there was one."""
    reached: Reached = []
    for number in may_step(now):
        reached.append(_stepped(now, number))
        found.runs += 1
    if now.up and now.crashes_left:
        dead = copied(now)
        dead.crash()
        reached.append((dead, ("the daemon dies",), None))
    if not now.up:
        reached += _all_runs(now, "the daemon starts", Lab.start, found)
    elif now.mailbox:
        reached += _all_runs(now, "the arbiter takes its turn", Lab.turn, found)
    if now.up and now.polls_left:
        reached += _all_runs(now, "the arbiter polls", _poll, found)
    return reached


def _stepped(now: Lab, number: int) -> tuple[Lab, tuple[str, ...], str | None]:
    then = copied(now)
    words = said(then, number)
    try:
        step(then, number)
    except Violation as seen:
        return then, (words,), str(seen)
    return then, (words,), None


def _all_runs(now: Lab, words: str, act: Callable[[Lab], None], found: Found) -> Reached:
    """Let the daemon do one thing in every way that others can step in or it can die."""
    reached: Reached = []
    met: set[Hashable] = set()
    prefixes: list[tuple[int, ...]] = [()]
    while prefixes:
        then, schedule = copied(now), Schedule(deque(prefixes.pop()), met)
        then.heard.clear()
        then.pause = schedule
        found.runs += 1
        violation = None
        try:
            act(then)
        except Pruned:
            prefixes += schedule.branches
            continue
        except Crashed:
            then.crash()
        except Violation as seen:
            violation = str(seen)
        then.pause = None
        prefixes += schedule.branches
        reached.append((then, (words, *schedule.words), violation))
    return reached


def may_step(lab: Lab) -> list[int]:
    """Return the clients that can take their next step: not the ones that wait for an answer."""
    return [
        number
        for number, client in enumerate(lab.clients)
        if lab.place[number] < len(client.steps)
        and number not in lab.mailbox
        and (lab.up or isinstance(client.steps[lab.place[number]], Do))
    ]


def step(lab: Lab, number: int) -> None:
    """Let a client take its next step."""
    now = lab.clients[number].steps[lab.place[number]]
    if isinstance(now, Say):
        lab.mailbox.append(number)
    else:
        now.act(lab)
        lab.place[number] += 1


def said(lab: Lab, number: int) -> str:
    """Return a client's next step in words."""
    client = lab.clients[number]
    now = client.steps[lab.place[number]]
    return f"{client.name} {'asks' if isinstance(now, Say) else 'does'}: {now.words}"


def _is_within(lab: Lab, number: int) -> bool:
    now = lab.clients[number].steps[lab.place[number]]
    return isinstance(now, Do) and not now.apart


def _poll(lab: Lab) -> None:
    lab.polls_left -= 1
    lab.arbiter.poll()


def _hashed(key: object) -> int:
    return hash(repr(key))
