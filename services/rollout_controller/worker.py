"""What the controller does periodically: it publishes models, begins rollouts, and moves them by the evidence.

All that it knows is in the database, so the process may die at any point.
"""

from __future__ import annotations

import asyncio

from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.refusal import UnavailableError
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.storage.database import Database, Transaction
from rollout_controller import queries, transactions
from rollout_controller.core import against_needed, in_favour_needed, next_move
from rollout_controller.metrics import EVIDENCE, MOVES, PAUSED, SILENT_VEHICLES, STOPPED, VEHICLES
from rollout_controller.model import Evidence, Move, Position, Rollout, RolloutPlan, Stage
from rollout_controller.ports import Admissions, PeerUnavailableError
from rollout_controller.publishing import Publisher
from rollout_controller.transactions import assignments, moves
from rollout_controller.transactions import evidence as evidence_of

log = get_logger(__name__)
IDLE_AFTER_S = 300.0
"""After as many seconds without a report that counts, the time of a rollout stands still."""


class RunningTime:
    """Measures the time in which this process runs and vehicles report, by the monotonic clock.

    The first turn of a process counts nothing: no one knows how long the controller was away.
    """

    def __init__(self) -> None:
        self._rollout_id = ""
        self._reports = -1
        self._last_ns = self._last_report_ns = 0

    def passed_s(self, rollout_id: str, reports: int, now_ns: int) -> float:
        """Seconds to add since the last call, from the number of reports that count so far."""
        is_first = rollout_id != self._rollout_id
        if is_first or reports != self._reports:
            self._last_report_ns = now_ns
        passed_s = 0.0 if is_first else ns_to_seconds(now_ns - self._last_ns)
        self._rollout_id, self._reports, self._last_ns = rollout_id, reports, now_ns
        return passed_s if ns_to_seconds(now_ns - self._last_report_ns) <= IDLE_AFTER_S else 0.0


class Worker:
    """Publishes what is registered, begins rollouts, and moves them forward or back."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        plan: RolloutPlan,
        fleet_id: str,
        clock: Clock,
        admissions: Admissions,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._plan = plan
        self._fleet_id = fleet_id
        self._clock = clock
        self._watch = RunningTime()
        self._admissions = admissions
        self._revoked: frozenset[str] | None = None

    async def run(self, stopping: asyncio.Event, every_s: float) -> None:
        """Work until `stopping`. While the orchestrator is unavailable it waits; other failures end the process."""
        while not stopping.is_set():
            try:
                await self.run_once()
            except PeerUnavailableError as error:
                log.warning("peer_unavailable", error=str(error))
            await pause(stopping, every_s)

    async def run_once(self) -> Move | None:
        """Do the next step of everything; return the move of a rollout that it decided on, if it decided on one."""
        await self._publisher.publish_pending()
        await self._note_revoked()
        begun = await self._begin_rollout()
        if begun is not None:
            return begun
        if await self._database.read(self._set_gauges):
            now_ns = self._clock.now_utc_ns()
            await self._database.run(lambda tx: transactions.complete_rollout(tx, self._plan, now_ns))
        return await self._move_rollout()

    async def _note_revoked(self) -> None:
        """Take vehicles out that were revoked. A list that cannot be read revokes none and admits none."""
        try:
            revoked = self._admissions.revoked(IdentityKind.VEHICLE)
        except UnavailableError as error:
            log.warning("admission_list_unavailable", error=str(error))
            return
        if revoked == self._revoked:
            return
        now_ns = self._clock.now_utc_ns()
        new = await self._database.run(
            lambda tx: assignments.note_revoked(tx, revoked, self._fleet_id, self._plan, now_ns)
        )
        if new:
            log.info("vehicles_revoked", vehicles=new[:20], count=len(new))
        self._revoked = revoked

    async def _begin_rollout(self) -> Move | None:
        if not await self._database.read(queries.has_candidate):
            return None
        now_ns = self._clock.now_utc_ns()
        begun = await self._database.run(lambda tx: moves.begin_next(tx, self._fleet_id, self._plan, now_ns))
        if begun is None:
            return None
        stage = begun.position.stage
        MOVES.labels(stage.value).inc()
        log.info("rollout_begins", model=begun.digest, stage=stage.value)
        return Move(stage, begun.position.canary_percent, begun.reasons)

    async def _move_rollout(self) -> Move | None:
        """Move the open rollout by the evidence, unless it moved while the evidence was read."""
        rollout = await self._database.read(queries.open_rollout)
        if rollout is None:
            return None
        now_ns = self._clock.now_utc_ns()
        passed_s = self._watch.passed_s(rollout.rollout_id, rollout.reports, self._clock.monotonic_ns())

        rollout_id = rollout.rollout_id

        def add_up(tx: Transaction) -> tuple[Rollout, Evidence, str] | None:
            now = queries.open_rollout(tx)
            if now is None or now.rollout_id != rollout_id:
                return None
            evidence_of.compare(tx, rollout_id, self._plan)
            held = queries.held(tx, now)
            if not held:
                evidence_of.add_running_time(tx, rollout_id, passed_s)
                assignments.replace_parked(tx, self._fleet_id, self._plan, now_ns)
            now = queries.open_rollout(tx)
            return None if now is None else (now, queries.evidence(tx, rollout_id, self._plan), held)

        added = await self._database.run(add_up)
        if added is None:
            return None
        rollout, known, held = added
        seen = rollout.position
        move = next_move(seen, self._plan, known, rollout.approved_by, rollout.tries, held)
        self._set_evidence(seen, known)
        moved = await self._database.run(
            lambda tx: moves.move_rollout(tx, rollout_id, seen, move, self._fleet_id, self._plan, now_ns)
        )
        if moved and not move.stays:
            MOVES.labels(move.stage.value).inc()
            log.info(
                "rollout_moves",
                model=rollout.digest,
                stage=move.stage,
                percent=move.canary_percent,
                reasons=move.reasons,
            )
        return move

    def _set_evidence(self, position: Position, known: Evidence) -> None:
        score = known.shadow_score if position.stage is Stage.SHADOWING else known.score
        EVIDENCE.labels("in_favour").set(score.in_favour / in_favour_needed(position, self._plan))
        EVIDENCE.labels("against").set(score.against / against_needed(self._plan))

    def _set_gauges(self, tx: Transaction) -> bool:
        """True when a released model waits for its last vehicle."""
        rollout = queries.open_rollout(tx)
        PAUSED.set(rollout is not None and bool(rollout.paused_by))
        STOPPED.set(queries.stop(tx) is not None)
        SILENT_VEHICLES.set(queries.silent_vehicles(tx, self._plan, self._clock.now_utc_ns()))
        VEHICLES.clear()
        for digest, count in queries.attested_counts(tx).items():
            VEHICLES.labels(digest[:12] or "none").set(count)
        return queries.is_incomplete(tx)
