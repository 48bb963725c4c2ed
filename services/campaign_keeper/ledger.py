"""What is counted of every trigger version, in one transaction each.

Clips name a firing only, so firings are remembered for as long as a clip of one may still come; what comes later in
the loop names its trigger itself. A clip that is read before its firing waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign_keeper.metrics import EARNINGS
from campaign_keeper.model import Count
from campaign_keeper.store import CommitRow, EarlyRow, EarningRow, FiringRow, add_to
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.pruning import prune_rows
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.common.v1 import provenance_pb2


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter of a trigger version after something was added."""

    campaign: str
    trigger: str
    version: int
    value: int


def note_firing(tx: Transaction, firing_id: str, campaign: str, trigger: str, version: int, at_utc_ns: int) -> None:
    """Remembers which trigger version a firing belongs to, counts it, and what came before it."""
    tx.session.merge(
        FiringRow(firing_id=firing_id, campaign=campaign, trigger=trigger, version=version, at_utc_ns=at_utc_ns)
    )
    _count(tx, campaign, trigger, version, Count.FIRED, 1)
    for early in tx.session.scalars(sa.select(EarlyRow).where(EarlyRow.firing_id == firing_id)).all():
        _count(tx, campaign, trigger, version, Count(early.count), early.amount)
        tx.session.delete(early)


def count_for_firing(
    tx: Transaction, firing_id: str, count: Count, now_utc_ns: int, amount: int = 1
) -> Counted | None:
    """Adds to a counter of the trigger version behind a firing; waits for the firing when it is not known yet."""
    if not firing_id:
        return None
    firing = tx.session.get(FiringRow, firing_id)
    if firing is not None:
        return _count(tx, firing.campaign, firing.trigger, firing.version, count, amount)
    early = tx.session.get(EarlyRow, (firing_id, count.value))
    if early is None:
        tx.session.add(EarlyRow(firing_id=firing_id, count=count.value, amount=amount, at_utc_ns=now_utc_ns))
    else:
        early.amount += amount
    tx.session.flush()
    return None


def count_for_origin(
    tx: Transaction, origin: provenance_pb2.Provenance, count: Count, now_utc_ns: int, amount: int = 1
) -> Counted | None:
    """Adds to a counter of the trigger version that an event names; by its firing when it names none."""
    if origin.trigger and origin.trigger_version and origin.campaign:
        return _count(tx, origin.campaign, origin.trigger, origin.trigger_version, count, amount)
    return count_for_firing(tx, origin.firing_id, count, now_utc_ns, amount)


def count_for_trigger(tx: Transaction, trigger: str, version: int, count: Count, amount: int) -> None:
    """Adds to a counter of a trigger version that is known by name alone, in the campaign where it fired most."""
    query = sa.select(EarningRow.campaign).where(
        EarningRow.trigger == trigger, EarningRow.version == version, EarningRow.count == Count.FIRED.value
    )
    campaign = tx.session.scalars(query.order_by(EarningRow.value.desc()).limit(1)).first()
    _count(tx, campaign or "", trigger, version, count, amount)


def first_count(tx: Transaction, commit_id: str) -> bool:
    """Notes a dataset version; False when it was counted. Its topic is kept for ever, inbox ids are not."""
    if tx.session.get(CommitRow, commit_id) is not None:
        return False
    tx.session.add(CommitRow(event_id=commit_id))
    return True


def forget_firings(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Drops at most `limit` firings from before `keep_s` seconds ago; returns how many."""
    return prune_rows(tx, FiringRow.firing_id, limit, FiringRow.at_utc_ns < now_utc_ns - seconds_to_ns(keep_s))


def forget_early(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Drops counts that waited so long for a firing that none will come; returns how many."""
    return prune_rows(tx, EarlyRow.firing_id, limit, EarlyRow.at_utc_ns < now_utc_ns - seconds_to_ns(keep_s))


def restore_metrics(tx: Transaction) -> None:
    """Sets the gauges from what is kept."""
    for row in tx.session.scalars(sa.select(EarningRow)):
        EARNINGS.labels(row.campaign, row.trigger, str(row.version), row.count).set(row.value)


def _count(tx: Transaction, campaign: str, trigger: str, version: int, count: Count, amount: int) -> Counted:
    value = add_to(tx.session, campaign, trigger, version, count, amount)
    EARNINGS.labels(campaign, trigger, str(version), count.value).set(value)
    return Counted(campaign, trigger, version, value)


def ledger(tx: Transaction, campaign: str = "") -> list[campaign_pb2.TriggerEarnings]:
    """What every trigger version earned, by campaign, trigger and version."""
    query = sa.select(EarningRow).order_by(EarningRow.campaign, EarningRow.trigger, EarningRow.version)
    if campaign:
        query = query.where(EarningRow.campaign == campaign)
    earnings: dict[tuple[str, str, int], campaign_pb2.TriggerEarnings] = {}
    for row in tx.session.scalars(query):
        entry = earnings.setdefault(
            (row.campaign, row.trigger, row.version),
            campaign_pb2.TriggerEarnings(campaign=row.campaign, trigger=row.trigger, version=row.version),
        )
        setattr(entry, row.count, row.value)
    return list(earnings.values())
