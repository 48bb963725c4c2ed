"""The approval of a release by a person other than the one who started the training run."""

from __future__ import annotations

from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError, PermissionDeniedError
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.codec import passed_run_from
from rollout_controller.model import Rollout, RolloutPlan, Stage
from rollout_controller.store import ModelRow, RolloutRow

log = get_logger(__name__)


def approve_release(tx: Transaction, rollout_id: str, by: str, reason: str, plan: RolloutPlan) -> Rollout:
    """Record that a person approves the release of a canary. The evidence still decides when it is released.

    Raises NotFoundError, FailedPreconditionError when no approval is needed or the model is no canary, and
    PermissionDeniedError for the person who started its training run.
    """
    row = tx.session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFoundError("no such rollout", "rollout_id", "ListRollouts has them all")
    if not plan.needs_approval:
        raise FailedPreconditionError(
            "releases need no approval here", "rollout_id", "set second_person.releases in config/access.yaml"
        )
    if not row.open or row.stage != Stage.CANARY.value:
        raise FailedPreconditionError(
            "its model is no canary, so that there is no evidence to approve", "rollout_id", "wait until it drives"
        )
    if passed_run_from(tx.session.get_one(ModelRow, row.digest).run).started_by == by:
        raise PermissionDeniedError(f"{by} started the training run of this model; another person has to approve it")
    if not row.approved_by:
        row.approved_by = by
        log.info("release_approved", rollout_id=rollout_id, by=by, reason=reason)
    return queries.rollout_of(row)
