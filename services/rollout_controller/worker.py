"""What the controller does periodically: it publishes models, begins rollouts, and moves them by the evidence.

All that it knows is in the database, so the process may die at any point.
"""

from __future__ import annotations

import asyncio

from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database, Transaction
from rollout_controller import queries, transactions
from rollout_controller.core import next_move
from rollout_controller.metrics import MOVES, SILENT_VEHICLES, VEHICLES
from rollout_controller.model import Move, RolloutPlan
from rollout_controller.ports import EvidenceSource, PeerUnavailableError
from rollout_controller.publishing import Publisher

log = get_logger(__name__)


class Worker:
    """Publishes what is registered, begins rollouts, and moves them forward or back."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        monitor: EvidenceSource,
        plan: RolloutPlan,
        fleet_id: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._monitor = monitor
        self._plan = plan
        self._fleet_id = fleet_id
        self._clock = clock

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
        begun = await self._begin_rollout()
        if begun is not None:
            return begun
        if await self._database.read(self._set_gauges):
            now_ns = self._clock.now_utc_ns()
            await self._database.run(lambda tx: transactions.complete_rollout(tx, self._plan, now_ns))
        return await self._move_rollout()

    async def _begin_rollout(self) -> Move | None:
        if not await self._database.read(queries.has_candidate):
            return None
        now_ns = self._clock.now_utc_ns()
        begun = await self._database.run(lambda tx: transactions.begin_next(tx, self._fleet_id, self._plan, now_ns))
        if begun is None:
            return None
        stage = begun.position.stage
        MOVES.labels(stage.value).inc()
        log.info("rollout_begins", model=begun.digest, stage=stage.value)
        return Move(stage, begun.position.canary_percent, begun.reasons)

    async def _move_rollout(self) -> Move | None:
        """Move the open rollout by the evidence, unless it moved while the evidence was asked for."""
        rollout = await self._database.read(queries.open_rollout)
        if rollout is None:
            return None
        evidence = await self._monitor.evidence(rollout.rollout_id, rollout.digest)
        if evidence is None:
            return None
        now_ns = self._clock.now_utc_ns()
        move = next_move(rollout.position, self._plan, evidence, now_ns, rollout.approved_by)
        moved = await self._database.run(
            lambda tx: transactions.move_rollout(
                tx, rollout.rollout_id, rollout.position, move, self._fleet_id, self._plan, now_ns
            )
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

    def _set_gauges(self, tx: Transaction) -> bool:
        """True when a released model waits for its last vehicle."""
        SILENT_VEHICLES.set(queries.silent_vehicles(tx, self._plan, self._clock.now_utc_ns()))
        VEHICLES.clear()
        for digest, count in queries.attested_counts(tx).items():
            VEHICLES.labels(digest[:12] or "none").set(count)
        return queries.is_incomplete(tx)
