"""What the keeper does in one transaction each."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import sqlalchemy as sa

from campaign_keeper.codec import STATES, campaign_event, contents_of, state_of
from campaign_keeper.core import MOVES, compare, may_move, quota_is_met
from campaign_keeper.metrics import EARNINGS
from campaign_keeper.model import Count, State
from campaign_keeper.ports import Examine
from campaign_keeper.store import CampaignRow, EarningRow, FiringRow, RevisionRow, add_to
from fleet.campaign.v1 import campaign_pb2
from fleetkit.database import Transaction
from fleetkit.rpc import RpcError


def current(tx: Transaction, name: str) -> campaign_pb2.Campaign | None:
    """The newest revision of a campaign."""
    row = tx.session.get(CampaignRow, name)
    return None if row is None else campaign_pb2.Campaign.FromString(row.message)


def campaigns(tx: Transaction) -> Sequence[campaign_pb2.Campaign]:
    """All campaigns by name."""
    rows = tx.session.scalars(sa.select(CampaignRow).order_by(CampaignRow.campaign))
    return [campaign_pb2.Campaign.FromString(row.message) for row in rows]


def publish_revision(tx: Transaction, campaign: campaign_pb2.Campaign, now_utc_ns: int) -> campaign_pb2.Campaign:
    """Stores `campaign` as the next revision and announces it."""
    before = tx.session.get(CampaignRow, campaign.campaign)
    revised = campaign_pb2.Campaign()
    revised.CopyFrom(campaign)
    revised.revision = 1 if before is None else before.revision + 1
    revised.published_at_utc_ns = now_utc_ns
    raw = revised.SerializeToString()
    tx.session.merge(CampaignRow(campaign=revised.campaign, revision=revised.revision, message=raw))
    tx.session.add(RevisionRow(campaign=revised.campaign, revision=revised.revision, message=raw))
    tx.publish(campaign_event(revised))
    return revised


def apply(
    tx: Transaction, request: campaign_pb2.ApplyCampaignRequest, now_utc_ns: int, examine: Examine
) -> campaign_pb2.ApplyCampaignResponse:
    """Brings a campaign's files into force, or says what is wrong or would change."""
    wanted = request.campaign
    before = current(tx, wanted.campaign)
    problems = list(examine(wanted))
    old = contents_of(before.triggers) if before else {}
    change = compare(old, contents_of(wanted.triggers))
    problems += [
        campaign_pb2.TriggerProblem(
            trigger=name,
            field="version",
            message=f"the trigger changed: raise its version above {old[name][0]}, to tell its firings apart",
        )
        for name in change.stale
    ]
    response = campaign_pb2.ApplyCampaignResponse(
        added=change.added, changed=change.changed, removed=change.removed, problems=problems
    )
    state = state_of(wanted.state) or (state_of(before.state) if before else State.RUNNING) or State.RUNNING
    state_before = state_of(before.state) if before else None
    if state_before is not None and not may_move(state_before, state):
        raise RpcError(grpc.StatusCode.FAILED_PRECONDITION, _moves_text(state_before), "campaign.state")
    same = before is not None and change.is_empty and state is state_before
    if problems or request.dry_run or same:
        response.campaign.CopyFrom(before or wanted)
        return response
    revised = campaign_pb2.Campaign()
    revised.CopyFrom(wanted)
    revised.state = STATES[state]
    response.campaign.CopyFrom(publish_revision(tx, revised, now_utc_ns))
    return response


def set_state(
    tx: Transaction, request: campaign_pb2.SetCampaignStateRequest, now_utc_ns: int
) -> campaign_pb2.SetCampaignStateResponse:
    """Moves a campaign. Raises RpcError NOT_FOUND, INVALID_ARGUMENT or FAILED_PRECONDITION with the moves allowed."""
    before = current(tx, request.campaign)
    if before is None:
        raise RpcError(grpc.StatusCode.NOT_FOUND, "no such campaign; ListCampaigns has them all", "campaign")
    wanted, now_in = state_of(request.state), state_of(before.state) or State.DRAFT
    if wanted is None:
        raise RpcError(grpc.StatusCode.INVALID_ARGUMENT, "name the state wanted", "state")
    if not may_move(now_in, wanted):
        raise RpcError(grpc.StatusCode.FAILED_PRECONDITION, _moves_text(now_in), "state")
    if wanted is not now_in:
        before.state = STATES[wanted]
        before.reason = request.reason
        before = publish_revision(tx, before, now_utc_ns)
    return campaign_pb2.SetCampaignStateResponse(campaign=before)


def _moves_text(state: State) -> str:
    allowed = ", ".join(sorted(MOVES[state])) or "none"
    return f"a campaign that is {state} can go to: {allowed}"


def note_firing(tx: Transaction, firing_id: str, campaign: str, trigger: str, version: int, at_utc_ns: int) -> None:
    """Remembers which trigger version a firing belongs to, and counts it."""
    tx.session.merge(
        FiringRow(firing_id=firing_id, campaign=campaign, trigger=trigger, version=version, at_utc_ns=at_utc_ns)
    )
    _count(tx, campaign, trigger, version, Count.FIRED, 1)


def count_for_firing(tx: Transaction, firing_id: str, count: Count, amount: int = 1) -> tuple[FiringRow, int] | None:
    """Adds to a counter of the trigger version behind a firing; None when the firing is not known."""
    firing = tx.session.get(FiringRow, firing_id)
    if firing is None:
        return None
    return firing, _count(tx, firing.campaign, firing.trigger, firing.version, count, amount)


def count_for_trigger(tx: Transaction, trigger: str, version: int, count: Count, amount: int) -> None:
    """Adds to a counter of a trigger version that is known by name alone, in the campaign it last fired in."""
    query = sa.select(FiringRow.campaign).where(FiringRow.trigger == trigger, FiringRow.version == version)
    campaign = tx.session.scalars(query.order_by(FiringRow.at_utc_ns.desc()).limit(1)).first()
    _count(tx, campaign or "", trigger, version, count, amount)


def restore_metrics(tx: Transaction) -> None:
    """Sets the gauges from what is kept."""
    for row in tx.session.scalars(sa.select(EarningRow)):
        EARNINGS.labels(row.campaign, row.trigger, str(row.version), row.count).set(row.value)


def _count(tx: Transaction, campaign: str, trigger: str, version: int, count: Count, amount: int) -> int:
    value = add_to(tx.session, campaign, trigger, version, count, amount)
    EARNINGS.labels(campaign, trigger, str(version), count.value).set(value)
    return value


def close_when_met(tx: Transaction, firing: FiringRow, accepted_labels: int, now_utc_ns: int) -> bool:
    """Takes a trigger out of its campaign once its quota of labels is met; ends the campaign with its last one."""
    campaign = current(tx, firing.campaign)
    if campaign is None or state_of(campaign.state) is not State.RUNNING:
        return False
    trigger = next((t for t in campaign.triggers if t.name == firing.trigger and t.version == firing.version), None)
    if trigger is None or not quota_is_met(accepted_labels, trigger.quota_labels):
        return False
    campaign.triggers.remove(trigger)
    campaign.reason = f"{firing.trigger} v{firing.version} has its {trigger.quota_labels} labels"
    if not campaign.triggers:
        campaign.state = STATES[State.FINISHED]
    publish_revision(tx, campaign, now_utc_ns)
    return True


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
