"""What counts the earnings of every trigger version.

Clips name only their firing, so firings are kept as long as one of their clips may still come; what comes later in
the loop names its trigger version itself. A clip that is read before its firing is counted once the firing is read.
"""

from __future__ import annotations

import sqlalchemy as sa

from campaign_keeper.metrics import EARNINGS
from campaign_keeper.model import Count, Counted, Origin
from campaign_keeper.store import CommitRow, EarlyRow, EarningRow, FiringRow
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.pruning import prune_rows


def record_firing(tx: Transaction, firing_id: str, campaign: str, trigger: str, version: int, at_utc_ns: int) -> None:
    """Store which trigger version a firing belongs to, and count it and what was read before it."""
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
    """Add to a counter of a firing's trigger version; None when the firing is not known yet, and counts later."""
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
    tx: Transaction, origin: Origin, count: Count, now_utc_ns: int, amount: int = 1
) -> Counted | None:
    """Add to a counter of the trigger version that an event names, or of its firing's when it names none."""
    if origin.trigger and origin.trigger_version and origin.campaign:
        return _count(tx, origin.campaign, origin.trigger, origin.trigger_version, count, amount)
    return count_for_firing(tx, origin.firing_id, count, now_utc_ns, amount)


def count_for_trigger(tx: Transaction, trigger: str, version: int, count: Count, amount: int) -> None:
    """Add to a counter of a trigger version of which only the name is known, in the campaign where it fired most."""
    query = sa.select(EarningRow.campaign).where(
        EarningRow.trigger == trigger, EarningRow.version == version, EarningRow.count == Count.FIRED.value
    )
    campaign = tx.session.scalars(query.order_by(EarningRow.value.desc()).limit(1)).first()
    _count(tx, campaign or "", trigger, version, count, amount)


def first_count(tx: Transaction, commit_id: str) -> bool:
    """Record a dataset version; False when it was counted before. Its topic is kept forever, inbox ids are not."""
    if tx.session.get(CommitRow, commit_id) is not None:
        return False
    tx.session.add(CommitRow(event_id=commit_id))
    return True


def prune_firings(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Delete at most `limit` firings older than `keep_s` seconds; return how many."""
    return prune_rows(tx, FiringRow.firing_id, limit, FiringRow.at_utc_ns < now_utc_ns - seconds_to_ns(keep_s))


def prune_early(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Delete at most `limit` counts older than `keep_s` seconds, whose firing will not come; return how many."""
    return prune_rows(tx, EarlyRow.firing_id, limit, EarlyRow.at_utc_ns < now_utc_ns - seconds_to_ns(keep_s))


def _count(tx: Transaction, campaign: str, trigger: str, version: int, count: Count, amount: int) -> Counted:
    row = tx.session.get(EarningRow, (campaign, trigger, version, count.value))
    if row is None:
        row = EarningRow(campaign=campaign, trigger=trigger, version=version, count=count.value, value=0)
        tx.session.add(row)
    row.value = max(0, row.value + amount)  # a retraction may name samples that an older database counted
    tx.session.flush()
    EARNINGS.labels(campaign, trigger, str(version), count.value).set(row.value)
    return Counted(campaign, trigger, version, row.value)
