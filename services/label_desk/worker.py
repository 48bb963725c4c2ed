"""What the desk does periodically: it ends decided tasks, asks hindsight about new ones, and sets the gauges.

Both loops read without blocking labellers and write only when there is something to do. Their state is in the
database, so the process may die at any point.
"""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random

from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database, Transaction
from label_desk import queries, transactions
from label_desk.core import Agreement, Audits, CheckPolicy, check_of
from label_desk.hindsight import hindsight_vote
from label_desk.metrics import (
    CONTRADICTED_VEHICLES,
    HINDSIGHT_UNSURE,
    OLDEST_TASK_SECONDS,
    OPEN_TASKS,
    SOURCE_DECIDES,
)
from label_desk.model import Check, Vote

_END_EVERY_S = 1.0
_HINDSIGHT_EVERY_S = 0.5
_AGREEMENT_EVERY_S = 30.0


class Worker:
    """The desk's periodic loops."""

    def __init__(
        self,
        database: Database,
        clips: StoredClips,
        schema: TaskSchema,
        clock: Clock,
        automatic_bound: float,
        checks: CheckPolicy,
        rng: Random,
        undo_window_s: float | None = None,
    ) -> None:
        self._database = database
        self._clips = clips
        self._schema = schema
        self._clock = clock
        self._automatic_bound = automatic_bound
        self._checks = checks
        self._rng = rng
        self._undo_window_s = undo_window_s

    def _check(self, vote: Vote, of_source: Audits, of_vehicle: Audits) -> Check:
        return check_of(vote, self._rng.random(), of_source, of_vehicle, self._checks)

    def _may_decide(self, agreement: Agreement) -> bool:
        return agreement.audits.may_decide(self._checks.least_agreement)

    async def watch_agreement(self, stopping: asyncio.Event) -> None:
        """Set the gauges of what people found about automatic answers, until `stopping`."""
        while not stopping.is_set():
            sources, vehicles = await self._database.read(queries.agreements)
            for each in sources:
                SOURCE_DECIDES.labels(each.source.value).set(self._may_decide(each))
                refuted = sum(not self._may_decide(v) for v in vehicles if v.source is each.source)
                CONTRADICTED_VEHICLES.labels(each.source.value).set(refuted)
            await pause(stopping, _AGREEMENT_EVERY_S)

    async def end_decided_tasks(self, stopping: asyncio.Event) -> None:
        """End decided tasks whose undo window is over, and set the gauges, until `stopping`."""
        while not stopping.is_set():
            while await self._database.read(self._has_decided):
                await self._database.run(
                    lambda tx: transactions.end_decided(
                        tx, self._clock.now_utc_ns(), self._automatic_bound, undo_window_s=self._undo_window_s
                    )
                )
            await pause(stopping, _END_EVERY_S)

    def _has_decided(self, tx: Transaction) -> bool:
        now_ns = self._clock.now_utc_ns()
        for project in queries.progress(tx, now_ns):
            OPEN_TASKS.labels(project.project).set(project.open)
            OLDEST_TASK_SECONDS.labels(project.project).set(project.oldest_open_s)
        return queries.has_decided(tx, now_ns, self._undo_window_s)

    async def vote_by_hindsight(self, stopping: asyncio.Event) -> None:
        """Let hindsight vote on new tasks until `stopping`. People are asked about what it cannot answer."""
        while not stopping.is_set():
            if not await self.vote_once():
                await pause(stopping, _HINDSIGHT_EVERY_S)

    async def vote_once(self) -> int:
        """Let hindsight vote on the tasks that wait for it; return how many waited."""
        waiting = await self._database.read(queries.tasks_for_hindsight)
        for task in waiting:
            vote = await asyncio.to_thread(hindsight_vote, self._clips, self._schema, task, self._clock.now_utc_ns())
            decision = await self._database.run(
                partial(
                    transactions.submit_automatic,
                    task_id=task.task_id,
                    vote=vote,
                    now_utc_ns=self._clock.now_utc_ns(),
                    automatic_bound=self._automatic_bound,
                    check=self._check,
                )
            )
            if decision is None:
                HINDSIGHT_UNSURE.labels(task.project).inc()
        return len(waiting)
