"""The one actor that decides, records and pushes: observe, decide, record, push, settle.

No thread and no queue here (mailbox.py has them): a turn is a function of what is asked, so
that every interleaving can be tested. A record is committed before the hypercall; a crash
anywhere is healed by `start`, which reads the ledger, observes Xen and pushes what differs.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from maxmemd.arbiter.batch import Batch
from maxmemd.arbiter.codec import birth_of, effects_of, row_of
from maxmemd.arbiter.enforcer import Enforcer
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.messages import Answer, DecisionRequest, Granted, Query
from maxmemd.arbiter.observation import Observer
from maxmemd.arbiter.queries import Queries, push_status
from maxmemd.arbiter.reconciler import Reconciler
from maxmemd.arbiter.records import Records
from maxmemd.errors import LedgerError, MaxmemError
from maxmemd.policy.clauses import Rules
from maxmemd.policy.entries import ANNOUNCED, BORN
from maxmemd.ports import Clock, Ledger, Pusher


class Arbiter:
    """Owns the ledger's writes and the way to Xen. Every method belongs to one thread."""

    def __init__(
        self,
        ledger: Ledger,
        pusher: Pusher,
        clock: Clock,
        *,
        rules: Rules,
        drift: str,
        boot: str,
        keep_gone_s: float,
    ) -> None:
        self.rules = rules
        self.clock = clock
        self.records = Records(ledger, clock)
        kept = self.records.load()
        self.instances = InstanceTable(dict(kept.incarnations), boot)
        for row in kept.instances:
            self.instances.resume(row, effects_of(row), birth_of(row))
        enforcer = Enforcer(pusher, clock)
        rebooting = {uuid for uuid, then in kept.rebooting.items() if then == boot}
        self.lifecycle = Lifecycle(
            rules, self.instances, self.records, enforcer, keep_gone_s, rebooting
        )
        self.reconciler = Reconciler(drift, self.lifecycle, self.records, enforcer)
        self.queries = Queries(self.records, self.lifecycle)
        self.decisions = 0
        self.refusals: dict[str, int] = {}

    def take(self, rules: Rules, *, drift: str, keep_gone_s: float) -> None:
        """Decide by these rules from now on; what was decided stays."""
        self.rules = self.lifecycle.rules = rules
        self.reconciler.mode = drift
        self.lifecycle.keep_gone_s = keep_gone_s

    def start(self) -> None:
        """Heal what a crash may have left: observe Xen, and push what differs.

        Raises HypervisorError or LedgerError; `poll` goes on with it.
        """
        self.poll()

    def poll(self) -> None:
        """Compare Xen with the ledger once, and write the notes. Raises MaxmemError.

        Xen is compared even while the ledger is in trouble, with what is known to be kept.
        """
        with suppress(LedgerError):
            self._make_certain()
        self.reconciler.poll()
        self.lifecycle.forget()
        if self.records.trouble is not None:
            self.lifecycle.note_all()
        self.records.tell_old_repeats()
        self.flush()

    def stop(self) -> None:
        """Compare and write the notes a last time, with what was counted. Raises MaxmemError."""
        self.records.tell_repeats()
        self.poll()

    @property
    def has_notes(self) -> bool:
        """Whether notes wait, and a sound ledger would take them."""
        return self.records.waiting and self.records.trouble is None

    def flush(self) -> None:
        """Write what was noted since the last commit. Raises LedgerError, and it waits on."""
        self.records.flush()

    def turn(self, asks: Sequence[DecisionRequest | Query]) -> list[Answer | MaxmemError]:
        """Answer everything that waited: decided in order, one commit, then pushed."""
        sight = Observer(self.lifecycle)
        turn = Batch(self.rules, self.records, self.lifecycle, sight, self.refusals)
        answers = self._decide_all(turn, asks)
        if turn.entries:
            try:
                self._record(turn)
            except LedgerError as error:
                return [
                    error if isinstance(ask, DecisionRequest) else answer
                    for ask, answer in zip(asks, answers, strict=True)
                ]
            self._push(turn)
        for index, instance in turn.granted.items():
            if instance is not None:
                granted = cast("Granted", answers[index])
                answers[index] = granted.pushed(push_status(instance))
        return answers

    def _decide_all(
        self, turn: Batch, asks: Sequence[DecisionRequest | Query]
    ) -> list[Answer | MaxmemError]:
        trouble: LedgerError | None = None
        try:
            self._make_certain()
            wanted = [
                ask.key for ask in asks if isinstance(ask, DecisionRequest) and ask.key is not None
            ]
            turn.keys = self.records.by_keys(wanted)
        except LedgerError as error:
            trouble = error
        else:
            turn.observe_ahead([ask for ask in asks if isinstance(ask, DecisionRequest)])
        answers: list[Answer | MaxmemError] = []
        looked: dict[Query, Answer | MaxmemError] = {}
        for index, ask in enumerate(asks):
            try:
                if isinstance(ask, Query):
                    answers.append(self._look(ask, looked))
                else:
                    answers.append(trouble or turn.answer(index, ask))
            except MaxmemError as error:
                answers.append(error)
        return answers

    def _look(self, look: Query, looked: dict[Query, Answer | MaxmemError]) -> Answer | MaxmemError:
        """Answer a question; those who ask the same in one turn have one answer together."""
        if look not in looked:
            try:
                looked[look] = self.queries.look(look)
            except MaxmemError as error:
                looked[look] = error
        return looked[look]

    def _make_certain(self) -> None:
        """After a failed commit read the ledger again, and take up what it kept after all."""
        for row in self.records.make_certain():
            for instance in self.instances.of_uuid(row.uuid):
                if instance.incarnation == row.incarnation:
                    instance.effects = effects_of(row)
                    instance.remember(birth_of(row))

    def _record(self, turn: Batch) -> None:
        """Commit the turn, with what must still be written for its instances."""
        effects = {
            instance: turn.sight.effects(instance)
            for uuid in turn.decided
            for instance in self.instances.of_uuid(uuid)
        }
        said = {*(instance for instance, _ in turn.builds), *turn.claimed}
        births = {i: ANNOUNCED for i in said if i.birth not in (BORN, ANNOUNCED)}
        rows = [
            row_of(instance, effects=wanted, birth=births.get(instance))
            for instance, wanted in effects.items()
            if wanted is not instance.effects or instance in births
        ]
        self.records.commit(turn.entries, turn.decided, instances=rows)
        for instance, wanted in effects.items():
            instance.effects = wanted
        for instance, wish in turn.builds:
            self.lifecycle.announced(instance, wish)
        for instance in turn.claimed:
            self.lifecycle.claimed(instance)
        self.decisions += len(turn.entries)

    def _push(self, turn: Batch) -> None:
        """Push the last value of each domain, to every instance it has here, all at once.

        The youngest first, so that the incoming half of a local migration never has less room
        than what the other half may populate. While it is built, and was not itself asked
        about, it is raised and not lowered.
        """
        dues = []
        for uuid, record in turn.decided.items():
            for instance in reversed(self.instances.of_uuid(uuid)):
                if turn.sight.looked_at(instance) or not instance.building:
                    dues.append((instance, record))
                else:
                    self.reconciler.push_beside(instance, record)
        self.reconciler.push(dues)
