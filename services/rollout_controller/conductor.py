"""Looks at the evidence every few seconds and moves rollouts. All it knows is in the database: it can die."""

from __future__ import annotations

import asyncio
import json

import grpc
import sqlalchemy as sa

from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database, Transaction
from rollout_controller import transactions
from rollout_controller.core import advance
from rollout_controller.metrics import MOVES, SILENT_VEHICLES, VEHICLES
from rollout_controller.model import Move, RolloutPlan, Stage, Standing
from rollout_controller.ports import Witness
from rollout_controller.publishing import Publisher
from rollout_controller.store import RolloutRow, VehicleRow
from rollout_controller.stream import tell_of_last_vehicle

log = get_logger(__name__)


class Conductor:
    """Publishes what is registered, begins rollouts, and carries them on or back."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        witness: Witness,
        plan: RolloutPlan,
        fleet_id: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._witness = witness
        self._plan = plan
        self._fleet_id = fleet_id
        self._clock = clock

    async def run(self, stopping: asyncio.Event, tick_s: float) -> None:
        """Runs until `stopping`. The orchestrator's being away is waited out; other failures end the process."""
        while not stopping.is_set():
            try:
                await self.tick()
            except grpc.aio.AioRpcError as error:
                log.warning("peer_away", code=error.code().name, detail=error.details())
            await pause(stopping, tick_s)

    async def tick(self) -> Move | None:
        """One look; the move that it led to, if any."""
        await self._publisher.publish_pending()
        begun = None
        if await self._database.read(transactions.next_candidate) is not None:
            begun = await self._database.run(
                lambda tx: transactions.begin_next(tx, self._fleet_id, self._plan, self._clock.now_utc_ns())
            )
        if begun is not None:
            MOVES.labels(begun.stage).inc()
            log.info("rollout_begins", model=begun.digest, stage=begun.stage)
            return Move(Stage(begun.stage), begun.canary_percent, tuple(json.loads(begun.reasons)))
        if await self._database.read(self._measure):
            await self._database.run(self._conclude)
        standing = await self._database.read(self._standing)
        if standing is None:
            return None
        rollout_id, digest, position = standing
        evidence = await self._witness.evidence(rollout_id, digest)
        if evidence is None:
            return None
        now_ns = self._clock.now_utc_ns()
        move = advance(position, self._plan, evidence, now_ns)
        moved = await self._database.run(lambda tx: self._move(tx, rollout_id, position, move, now_ns))
        if moved and not move.stays:
            MOVES.labels(move.stage.value).inc()
            log.info("rollout_moves", model=digest, stage=move.stage, percent=move.canary_percent, why=move.reasons)
        return move

    def _standing(self, tx: Transaction) -> tuple[str, str, Standing] | None:
        row = transactions.open_rollout(tx)
        if row is None:
            return None
        return row.rollout_id, row.digest, _position(row)

    def _move(self, tx: Transaction, rollout_id: str, seen: Standing, move: Move, now_ns: int) -> bool:
        """Carries the move out unless somebody moved the rollout since the evidence was asked for."""
        row = transactions.open_rollout(tx)
        if row is None or row.rollout_id != rollout_id or _position(row) != seen:
            return False
        transactions.carry_out(tx, row, move, self._fleet_id, self._plan, now_ns)
        return True

    def _conclude(self, tx: Transaction) -> None:
        finished = transactions.conclude(tx, self._plan, self._clock.now_utc_ns())
        if finished is not None:
            tell_of_last_vehicle(finished)

    def _measure(self, tx: Transaction) -> bool:
        """Sets the gauges; True when a released model waits for its last vehicle."""
        now_ns = self._clock.now_utc_ns()
        SILENT_VEHICLES.set(transactions.silent_vehicles(tx, self._plan, now_ns))
        counts = sa.select(VehicleRow.attested, sa.func.count()).group_by(VehicleRow.attested)
        VEHICLES.clear()
        for digest, count in tx.session.execute(counts):
            VEHICLES.labels(digest[:12] or "none").set(count)
        return transactions.unattested(tx) is not None


def _position(row: RolloutRow) -> Standing:
    return Standing(Stage(row.stage), row.canary_percent, row.stage_began_at_utc_ns)
