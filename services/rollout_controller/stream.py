"""The Kafka shell: committed dataset versions and examined runs come in, and the reports of vehicles."""

from __future__ import annotations

from collections.abc import Mapping

from fleetloop.domain.topics import DATASET, HEALTH, TRAINING
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from rollout_controller import transactions
from rollout_controller.codec import passed_run_in, report_of, version_in
from rollout_controller.model import RolloutPlan
from rollout_controller.transactions.lead_times import record_version


def effects(fleet_id: str, plan: RolloutPlan, clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def on_run(tx: Transaction, record: Record) -> None:
        """A training run changed its state."""
        run = passed_run_in(record)
        if run is not None:
            transactions.register(tx, run, clock.now_utc_ns())

    def on_version(tx: Transaction, record: Record) -> None:
        """A dataset version was committed."""
        record_version(tx, version_in(record))

    def on_report(tx: Transaction, record: Record) -> None:
        """A vehicle reported."""
        transactions.record_report(tx, report_of(record), fleet_id, plan, clock.now_utc_ns())

    return {DATASET: on_version, TRAINING: on_run, HEALTH: on_report}
