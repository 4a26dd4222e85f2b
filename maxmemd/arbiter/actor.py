"""The one actor that decides, records and pushes: observe, decide, record, push, settle.

No thread and no queue here (mailbox.py has them): a turn is a function of what is asked, so
that every interleaving can be tested. A record is committed before the hypercall; a crash
anywhere is healed by `start`, which reads the ledger, observes Xen and pushes what differs.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from maxmemd.arbiter.batch import Batch
from maxmemd.arbiter.conditions import Condition, conditions_of
from maxmemd.arbiter.drift_modes import DriftModes
from maxmemd.arbiter.endings import EndingTable
from maxmemd.arbiter.fights import Fights
from maxmemd.arbiter.instance_rows import row_of
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.limit_pusher import LimitPusher
from maxmemd.arbiter.messages import (
    Answer,
    Ask,
    DecisionRequest,
    DriftRequest,
    Granted,
    LookAtDomain,
    Query,
    Refused,
)
from maxmemd.arbiter.observation import Observer
from maxmemd.arbiter.pruning import Pruning
from maxmemd.arbiter.queries import Queries, push_status
from maxmemd.arbiter.reconciler import Reconciler
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings, Settings
from maxmemd.arbiter.status import Figures, figures_of
from maxmemd.errors import LedgerError, MaxmemError
from maxmemd.ports import Clock, Ledger, Pusher


class Arbiter:
    """Owns the ledger's writes and the way to Xen. Every method belongs to one thread."""

    def __init__(
        self, ledger: Ledger, pusher: Pusher, clock: Clock, settings: Settings, *, boot: str
    ) -> None:
        self.clock = clock
        self.settings = CurrentSettings(settings)
        self.records = Records(ledger, clock)
        kept = self.records.load()
        self.instances = InstanceTable(self.records.last_incarnation, boot)
        for row in kept.instances:
            self.instances.resume(row)
        self.pusher = pusher
        endings = EndingTable(self.instances, boot, kept.endings)
        self.lifecycle = Lifecycle(
            self.settings, self.instances, self.records, pusher, clock, endings
        )
        self.drift = DriftModes(self.settings, self.records, self.lifecycle, clock, boot)
        self.fights = Fights(self.settings, self.records, self.lifecycle, self.drift, clock)
        self.limits = LimitPusher(self.lifecycle, self.records, pusher, clock)
        self.reconciler = Reconciler(
            self.drift, self.fights, self.lifecycle, self.records, self.limits
        )
        self.queries = Queries(self.records, self.lifecycle, self.drift, pusher, clock)
        self.pruning = Pruning(self.settings, self.records, clock, kept.newest_ns)
        self.decisions = 0
        self.conditions: tuple[Condition, ...] = ()
        self.refusals: dict[str, int] = {}

    def reconfigure(self, settings: Settings) -> None:
        """Decide by these settings from now on; what was decided stays."""
        self.settings.value = settings

    def start(self) -> None:
        """Heal what a crash may have left: observe Xen, and push what differs.

        Raises HypervisorError or LedgerError; `poll` goes on with it. Of xenstore only what is
        needed is asked: it may hang, and guests wait for the start.
        """
        self._compare(looks_around=False)

    def poll(self) -> None:
        """Compare Xen with the ledger once, and write the notes. Raises MaxmemError.

        Xen is compared even while the ledger is in trouble, with what is known to be kept.
        """
        self._compare(looks_around=True)

    def _compare(self, *, looks_around: bool) -> None:
        # The ledger first: what a failed commit kept after all must be pushed, not taken for
        # drift. Notes last, for comparing makes most of them. Where the ledger is in trouble
        # nothing may be waiting, and it would stay in trouble: so there is always a note then.
        with suppress(LedgerError):
            self._make_certain()
            self.drift.end_old()
        try:
            self.reconciler.poll(self.pusher.domains())
            if looks_around:
                self.lifecycle.nodes.look_around(self.instances)
        finally:
            self.lifecycle.surprises.on_poll_ended()
            self.conditions = conditions_of(self.instances, self.lifecycle.surprises)
        self.lifecycle.forget_old()
        if self.records.trouble is not None:
            self.lifecycle.note_all()
        self.records.note_old_repeats()
        self.flush()

    def stop(self) -> None:
        """Compare and write the notes a last time, with what was counted, and close the ledger.

        Raises MaxmemError, and the ledger is closed all the same.
        """
        self.records.note_all_repeats()
        try:
            self.poll()
        finally:
            self.records.close()

    @property
    def has_notes(self) -> bool:
        """Whether notes wait, and a sound ledger would take them."""
        return self.records.has_notes and self.records.trouble is None

    @property
    def figures(self) -> Figures:
        """What was counted, and how the ledger is, as it may be read by another thread."""
        return figures_of(
            self.records,
            self.reconciler,
            self.decisions,
            self.refusals,
            self.conditions,
            pruning_ended_by=self.pruning.ended_by,
        )

    def flush(self) -> None:
        """Write what was noted since the last commit. Raises LedgerError, and it waits on."""
        self.records.flush()

    def turn(self, asks: Sequence[Ask]) -> list[Answer | MaxmemError]:
        """Answer everything that waited: decided in order, one commit, then pushed."""
        observer = Observer(self.lifecycle, self.pusher)
        rules = self.settings.value.rules
        batch = Batch(
            rules,
            self.records,
            self.lifecycle,
            observer,
            self.reconciler.adopt_put_off,
            self.refusals,
        )
        answers = self._decide_all(batch, asks)
        if batch.entries:
            try:
                self._record(batch)
            except LedgerError as error:
                return [
                    error if isinstance(ask, DecisionRequest) else answer
                    for ask, answer in zip(asks, answers, strict=True)
                ]
            self._push(batch)
        for index, instance in batch.granted.items():
            if instance is not None:
                granted = cast("Granted", answers[index])
                answers[index] = granted.pushed(push_status(instance))
        return answers

    def _decide_all(self, batch: Batch, asks: Sequence[Ask]) -> list[Answer | MaxmemError]:
        trouble: LedgerError | None = None
        try:
            self._make_certain()
            writes = [ask for ask in asks if isinstance(ask, DecisionRequest | DriftRequest)]
            wanted = [ask.key for ask in writes if ask.key is not None]
            batch.keys = self.records.by_keys(wanted)
        except LedgerError as error:
            trouble = error
        else:
            self._observe_ahead(batch, [ask for ask in asks if isinstance(ask, DecisionRequest)])
        answers: list[Answer | MaxmemError] = []
        answered: dict[Query, Answer | MaxmemError] = {}
        for index, ask in enumerate(asks):
            try:
                if isinstance(ask, Query):
                    answers.append(self._answer_query(ask, answered))
                elif isinstance(ask, DriftRequest):
                    answers.append(trouble or self._set_drift(ask, batch))
                else:
                    answers.append(trouble or batch.answer(index, ask))
            except MaxmemError as error:
                answers.append(error)
            except Exception as surprise:  # noqa: BLE001 - of one request, noted and answered
                who = ask.ref if isinstance(ask, DecisionRequest | LookAtDomain) else "any"
                batch.granted.pop(index, None)
                answers.append(self.lifecycle.surprises.note(who, surprise))
        return answers

    def _observe_ahead(self, batch: Batch, asks: Sequence[DecisionRequest]) -> None:
        """Look at all domains at once; where that meets a fault each is asked for alone."""
        try:
            batch.observe_ahead(asks)
        except Exception as surprise:  # noqa: BLE001 - noted; its domain meets it again
            self.lifecycle.surprises.note("any", surprise)

    def _set_drift(self, ask: DriftRequest, batch: Batch) -> Answer:
        answer = self.drift.answer(ask, batch.observer, batch.keys)
        if isinstance(answer, Refused):
            code = answer.refusal.code
            self.refusals[code] = self.refusals.get(code, 0) + 1
        return answer

    def _answer_query(
        self, query: Query, answered: dict[Query, Answer | MaxmemError]
    ) -> Answer | MaxmemError:
        """Answer a question; clients who ask the same in one turn have one answer together."""
        if query not in answered:
            try:
                answered[query] = self.queries.answer(query)
            except MaxmemError as error:
                answered[query] = error
        return answered[query]

    def _make_certain(self) -> None:
        """After a failed commit read the ledger again, and take up what it kept after all."""
        for row in self.records.make_certain():
            for instance in self.instances.of_uuid(row.uuid):
                if instance.incarnation == row.incarnation:
                    instance.on_ledger_reread(row)

    def _record(self, batch: Batch) -> None:
        """Commit the batch, with what must still be written for its instances."""
        # The instances' rows go with the decision, in one transaction, and the instances are let
        # know only after it. A crash in between finds in the ledger what is owed to them; a
        # commit that fails leaves them as they were, for nothing of the batch holds then.
        effects = {
            instance: batch.observer.effects_for(instance)
            for uuid in batch.decided
            for instance in self.instances.of_uuid(uuid)
        }
        builds = batch.build_states()
        rows = []
        for instance, wanted in effects.items():
            build = builds.get(instance, instance.build)
            if wanted is not instance.effects or build != instance.build:
                rows.append(row_of(instance, effects=wanted, build=build))
        self.records.commit(batch.entries, batch.decided, instances=rows)
        for instance, wanted in effects.items():
            instance.on_effects_decided(wanted)
        for instance, build in builds.items():
            instance.on_build_decided(build)
        for uuid in batch.ahead:
            self.lifecycle.endings.on_decided_ahead(uuid)
        self.decisions += sum(entry.state is not None for entry in batch.entries)

    def _push(self, batch: Batch) -> None:
        """Push the last value of each domain to every instance that it has here, all at once.

        An instance that is being built, and was not itself asked about, is raised and not
        lowered: its limit is its toolstack's for now.
        """
        dues = []
        for uuid, record in batch.decided.items():
            # Of two halves of a local migration the younger one, the incoming, comes first. It
            # is sent every page that the elder holds, and the elder may populate up to its new
            # limit as soon as it has it: were the elder raised first, it could hold a page for
            # which the incoming half has no room, and the migration would fail.
            youngest_first = sorted(
                self.instances.of_uuid(uuid), key=lambda life: life.incarnation, reverse=True
            )
            for instance in youngest_first:
                if not batch.observer.concerns(instance):
                    continue
                if batch.observer.has_observed(instance) or not instance.building:
                    dues.append(self.limits.due(instance, record))
                else:
                    self.limits.push_beside(instance, record)
        self.limits.push(dues)
