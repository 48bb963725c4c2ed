"""The lead time of the loop: from the detection of a sample until the last vehicle attests a model trained on it.

A dataset version that is committed is kept here until a model trained on it, or on a later version, drives every
vehicle. Each of its samples then leaves the stage `rollout`, and its lead time is known. A candidate that is rolled
back ends nothing: its samples wait for the next model that is released. A retracted sample gets no lead time.
"""

from __future__ import annotations

import json
from collections import Counter

import sqlalchemy as sa

from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.metrics import LoopStage, observe_stage
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.metrics import LOOP_LEAD_SECONDS, SERVICE
from rollout_controller.model import CommittedVersion, PassedRun
from rollout_controller.store import WaitingVersionRow

KEPT_NS = seconds_to_ns(90 * 86_400)
"""A version that no released model has used for this long is deleted: its samples get no lead time."""


def record_version(tx: Transaction, version: CommittedVersion) -> bool:
    """Keeps a committed version until a model trained on it drives; False when no lead time can come of it.

    None comes of a test set, of imported samples, and of a version that the released model was trained on: the
    database was created later than that model, or the event is very late. A version that removes samples ends their
    waiting.
    """
    if version.removed_detected_at_utc_ns:
        _forget(tx, version)
    if version.frozen or not version.detected_at_utc_ns:
        return False
    if tx.session.get(WaitingVersionRow, (version.dataset, version.number)) is not None:
        return False  # its topic is kept longer than the ids in the inbox
    released, newest = queries.released_run(tx), queries.newest_run(tx)
    if released is not None and released.includes(version):
        return False
    row = WaitingVersionRow(
        dataset=version.dataset,
        number=version.number,
        committed_at_utc_ns=version.committed_at_utc_ns,
        trained_at_utc_ns=0,
        detected_at_utc_ns=json.dumps(list(version.detected_at_utc_ns)),
    )
    tx.session.add(row)
    if newest is not None and newest.includes(version):  # the run's event was read before the version's
        _end_training(row, newest)
    expired = WaitingVersionRow.committed_at_utc_ns < version.committed_at_utc_ns - KEPT_NS
    tx.session.execute(sa.delete(WaitingVersionRow).where(expired))
    return True


def _forget(tx: Transaction, version: CommittedVersion) -> None:
    """Deletes the samples that a version removed from those that wait. Samples of one instant are interchangeable."""
    removed = Counter(version.removed_detected_at_utc_ns)
    earlier = sa.select(WaitingVersionRow).where(
        WaitingVersionRow.dataset == version.dataset, WaitingVersionRow.number < version.number
    )
    for row in tx.session.scalars(earlier.order_by(WaitingVersionRow.number)).all():
        left = []
        for detected_at_utc_ns in json.loads(row.detected_at_utc_ns):
            if removed[detected_at_utc_ns] > 0:
                removed[detected_at_utc_ns] -= 1
            else:
                left.append(detected_at_utc_ns)
        if left:
            row.detected_at_utc_ns = json.dumps(left)
        else:
            tx.session.delete(row)


def end_training(tx: Transaction, run: PassedRun) -> None:
    """Ends the stage `train` of the samples that no model before this one was trained on."""
    for row in tx.session.scalars(_included(run).where(WaitingVersionRow.trained_at_utc_ns == 0)):
        _end_training(row, run)


def _end_training(row: WaitingVersionRow, run: PassedRun) -> None:
    row.trained_at_utc_ns = run.evaluated_at_utc_ns
    for _ in json.loads(row.detected_at_utc_ns):
        observe_stage(SERVICE, LoopStage.TRAIN, row.committed_at_utc_ns, row.trained_at_utc_ns)


def end_rollout(tx: Transaction, run: PassedRun, last_attested_at_utc_ns: int) -> int:
    """Ends the stage `rollout`, and with it the loop, of all samples in the model of `run`; returns how many.

    Their rows are deleted, so each sample is counted once.
    """
    ended = 0
    for row in tx.session.scalars(_included(run).where(WaitingVersionRow.trained_at_utc_ns > 0)):
        for detected_at_utc_ns in json.loads(row.detected_at_utc_ns):
            observe_stage(SERVICE, LoopStage.ROLLOUT, row.trained_at_utc_ns, last_attested_at_utc_ns)
            lead_s = ns_to_seconds(last_attested_at_utc_ns - detected_at_utc_ns)
            LOOP_LEAD_SECONDS.observe(max(0.0, lead_s))
            ended += 1
        tx.session.delete(row)
    return ended


def _included(run: PassedRun) -> sa.Select[WaitingVersionRow]:
    """The waiting versions whose samples the model of `run` was trained on; retracted samples no longer wait."""
    return sa.select(WaitingVersionRow).where(
        WaitingVersionRow.dataset == run.dataset, WaitingVersionRow.number <= run.dataset_number
    )
