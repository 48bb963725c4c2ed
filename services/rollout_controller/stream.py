"""The Kafka shell: examined runs come in, and what vehicles attest."""

from __future__ import annotations

from collections.abc import Mapping

from fleetloop.domain.messages import parse
from fleetloop.domain.topics import HEALTH, TRAINING
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller import transactions
from rollout_controller.metrics import LAST_VEHICLE_SECONDS
from rollout_controller.model import RolloutPlan
from rollout_controller.store import RolloutRow
from rollout_controller.transactions import Attestation

log = get_logger(__name__)


def tell_of_last_vehicle(finished: RolloutRow) -> None:
    """Every vehicle that is heard from attests a released model."""
    took_s = ns_to_seconds(finished.last_attested_at_utc_ns - finished.began_at_utc_ns)
    LAST_VEHICLE_SECONDS.observe(took_s)
    log.info("last_vehicle_attests", model=finished.digest, seconds=took_s)


def effects(fleet_id: str, plan: RolloutPlan, clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def take_run(tx: Transaction, record: Record) -> None:
        run = parse(training_pb2.RunChanged, record)
        if run.state != training_pb2.RUN_STATE_EVALUATED or run.verdict != training_pb2.VERDICT_PASSED:
            return
        for field in ("model_digest", "artifact_address"):
            if not getattr(run, field):
                raise UnreadableMessageError(f"{field}: is empty in a run that passed")
        transactions.register(tx, run, clock.now_utc_ns())

    def take_report(tx: Transaction, record: Record) -> None:
        report = parse(health_pb2.VehicleReport, record)
        now_ns = clock.now_utc_ns()
        vehicle = transactions.enlist(tx, report.vehicle_id, fleet_id, plan, now_ns)
        said = Attestation(report.model_digest, report.boot_id, report.sequence, report.end_utc_ns)
        finished = transactions.attest(tx, vehicle, said, plan, now_ns)
        if finished is not None:
            tell_of_last_vehicle(finished)

    return {TRAINING: take_run, HEALTH: take_report}
