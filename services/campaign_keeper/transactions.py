"""What the keeper does with campaigns, in one transaction each. `ledger.py` has what is counted."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from campaign_keeper.codec import STATES, campaign_event, contents_of, finished_names, state_of
from campaign_keeper.core import MOVES, Change, compare, may_move, quota_is_met, state_after_apply
from campaign_keeper.model import Count, State
from campaign_keeper.ports import Examine
from campaign_keeper.store import CampaignRow, EarningRow, ResumptionRow, RevisionRow
from fleetloop.kit.refusal import FailedPreconditionError, InvalidArgumentError, NotFoundError
from fleetloop.kit.storage.database import Transaction
from fleetloop.protos.campaign.v1 import campaign_pb2

REVISIONS_KEPT = 200
"""Of each campaign, for its history."""


def current(tx: Transaction, name: str) -> campaign_pb2.Campaign | None:
    """The newest revision of a campaign."""
    row = tx.session.get(CampaignRow, name)
    return None if row is None else campaign_pb2.Campaign.FromString(row.message)


def campaigns(tx: Transaction) -> Sequence[campaign_pb2.Campaign]:
    """All campaigns by name."""
    rows = tx.session.scalars(sa.select(CampaignRow).order_by(CampaignRow.campaign))
    return [campaign_pb2.Campaign.FromString(row.message) for row in rows]


def revisions(tx: Transaction, name: str, limit: int = 0) -> list[campaign_pb2.Campaign]:
    """A campaign's revisions that are kept, newest first."""
    query = sa.select(RevisionRow).where(RevisionRow.campaign == name).order_by(RevisionRow.revision.desc())
    rows = tx.session.scalars(query.limit(min(limit or 50, REVISIONS_KEPT)))
    return [campaign_pb2.Campaign.FromString(row.message) for row in rows]


def publish_revision(
    tx: Transaction, campaign: campaign_pb2.Campaign, now_utc_ns: int, by: str = ""
) -> campaign_pb2.Campaign:
    """Stores `campaign` as the next revision and announces it. `by` is empty where the keeper itself changed it."""
    before = tx.session.get(CampaignRow, campaign.campaign)
    revised = campaign_pb2.Campaign()
    revised.CopyFrom(campaign)
    revised.revision = 1 if before is None else before.revision + 1
    revised.published_at_utc_ns = now_utc_ns
    revised.changed_by = by
    raw = revised.SerializeToString()
    tx.session.merge(CampaignRow(campaign=revised.campaign, revision=revised.revision, message=raw))
    tx.session.add(RevisionRow(campaign=revised.campaign, revision=revised.revision, message=raw))
    tx.session.execute(
        sa.delete(RevisionRow).where(
            RevisionRow.campaign == revised.campaign, RevisionRow.revision <= revised.revision - REVISIONS_KEPT
        )
    )
    tx.publish(campaign_event(revised))
    return revised


def apply(
    tx: Transaction, request: campaign_pb2.ApplyCampaignRequest, now_utc_ns: int, examine: Examine, by: str = ""
) -> campaign_pb2.ApplyCampaignResponse:
    """Brings a campaign's files into force, or says what is wrong or would change.

    A trigger that has ended (its quota was met) and is applied unchanged stays ended.
    """
    wanted = request.campaign
    before = current(tx, wanted.campaign)
    ended = {each.trigger.name: each for each in before.finished} if before else {}
    old = contents_of([*before.triggers, *(each.trigger for each in before.finished)]) if before else {}
    change = compare(old, contents_of(wanted.triggers))
    problems = [*examine(wanted), *_stale(change, old), *_taken(tx, wanted)]
    state_before = state_of(before.state) if before else None
    state = state_after_apply(state_before, state_of(wanted.state), not change.is_empty)
    if state_before is not None and not may_move(state_before, state):
        raise FailedPreconditionError(_moves_text(state_before), "campaign.state")
    stay_ended = sorted(ended.keys() & {t.name for t in wanted.triggers} - set(change.changed))
    response = campaign_pb2.ApplyCampaignResponse(
        added=change.added, changed=change.changed, removed=change.removed, problems=problems, finished=stay_ended
    )
    same = before is not None and change.is_empty and state is state_before
    if problems or request.dry_run or same:
        response.campaign.CopyFrom(before or wanted)
        return response
    revised = campaign_pb2.Campaign(
        campaign=wanted.campaign,
        state=STATES[state],
        triggers=[t for t in wanted.triggers if t.name not in stay_ended],
        in_force_from_utc_ns=wanted.in_force_from_utc_ns,
        reason=wanted.reason,
        finished=[ended[name] for name in stay_ended],
    )
    if state is State.RUNNING:
        revised.approved_by, revised.approved_at_utc_ns = by, now_utc_ns
    response.campaign.CopyFrom(publish_revision(tx, revised, now_utc_ns, by))
    return response


def _stale(change: Change, old: dict[str, tuple[int, bytes]]) -> list[campaign_pb2.TriggerProblem]:
    return [
        campaign_pb2.TriggerProblem(
            trigger=name,
            field="version",
            message=f"the trigger changed: raise its version above {old[name][0]}, to tell its firings apart",
        )
        for name in change.stale
    ]


def _taken(tx: Transaction, wanted: campaign_pb2.Campaign) -> list[campaign_pb2.TriggerProblem]:
    """A trigger's name is its firings' name, so it may be in one campaign only."""
    owners = {
        trigger.name: other.campaign
        for other in campaigns(tx)
        if other.campaign != wanted.campaign and state_of(other.state) is not State.FINISHED
        for trigger in other.triggers
    }
    return [
        campaign_pb2.TriggerProblem(
            trigger=trigger.name,
            field="name",
            message=f"the campaign {owners[trigger.name]} has a trigger of this name: rename it, or finish that one",
        )
        for trigger in wanted.triggers
        if trigger.name in owners
    ]


def _refuse_taken(tx: Transaction, campaign: campaign_pb2.Campaign) -> None:
    for problem in _taken(tx, campaign):
        raise FailedPreconditionError(problem.message, problem.trigger)


def set_state(
    tx: Transaction, request: campaign_pb2.SetCampaignStateRequest, now_utc_ns: int, by: str = ""
) -> campaign_pb2.SetCampaignStateResponse:
    """Move a campaign to another state. Raises a RefusedError that names the moves allowed."""
    before = _known(tx, request.campaign)
    wanted, now_in = state_of(request.state), state_of(before.state) or State.DRAFT
    if wanted is None:
        raise InvalidArgumentError("name the state wanted", "state")
    only_from = state_of(request.only_from)
    if not may_move(now_in, wanted) or (only_from is not None and now_in is not only_from):
        raise FailedPreconditionError(_moves_text(now_in), "state")
    if wanted is State.RUNNING and not before.triggers:
        raise FailedPreconditionError("no trigger of it is left: resume or apply one", "campaign")
    if wanted is not State.FINISHED:
        _refuse_taken(tx, before)
    if wanted is not now_in:
        before.state = STATES[wanted]
        before.reason = request.reason
        if wanted is State.RUNNING and now_in is State.WAITING:
            before.approved_by, before.approved_at_utc_ns = by, now_utc_ns
        if wanted in (State.DRAFT, State.WAITING):
            before.ClearField("approved_by")
            before.ClearField("approved_at_utc_ns")
        before = publish_revision(tx, before, now_utc_ns, by)
    return campaign_pb2.SetCampaignStateResponse(campaign=before)


def resume_trigger(
    tx: Transaction, request: campaign_pb2.ResumeTriggerRequest, now_utc_ns: int, by: str = ""
) -> campaign_pb2.ResumeTriggerResponse:
    """Starts a trigger again whose quota was met; the quota counts from the labels that it has now.

    A campaign that ended with its last trigger runs again, approved by who asked. Raises a Refusal NOT_FOUND.
    """
    campaign = _known(tx, request.campaign)
    ended = next((each for each in campaign.finished if each.trigger.name == request.trigger), None)
    if ended is None:
        names = ", ".join(finished_names(campaign)) or "none"
        raise NotFoundError(f"it has not ended; these have: {names}", "trigger")
    trigger = ended.trigger
    labelled = tx.session.get(EarningRow, (campaign.campaign, trigger.name, trigger.version, Count.LABELLED.value))
    tx.session.merge(
        ResumptionRow(
            campaign=campaign.campaign,
            trigger=trigger.name,
            version=trigger.version,
            labelled=labelled.value if labelled else 0,
        )
    )
    campaign.triggers.append(trigger)
    campaign.finished.remove(ended)
    _refuse_taken(tx, campaign)
    campaign.reason = request.reason or f"{request.trigger} was resumed"
    if state_of(campaign.state) is State.FINISHED:
        campaign.state = STATES[State.RUNNING]
        campaign.approved_by, campaign.approved_at_utc_ns = by, now_utc_ns
    return campaign_pb2.ResumeTriggerResponse(campaign=publish_revision(tx, campaign, now_utc_ns, by))


def close_when_met(
    tx: Transaction, campaign_name: str, trigger_name: str, version: int, accepted_labels: int, now_utc_ns: int
) -> bool:
    """Ends a trigger once its quota of labels is met, and its campaign with its last one."""
    campaign = current(tx, campaign_name)
    if campaign is None or state_of(campaign.state) is not State.RUNNING:
        return False
    trigger = next((t for t in campaign.triggers if t.name == trigger_name and t.version == version), None)
    if trigger is None:
        return False
    resumed = tx.session.get(ResumptionRow, (campaign_name, trigger_name, version))
    if not quota_is_met(accepted_labels, trigger.quota_labels, resumed.labelled if resumed else 0):
        return False
    reason = f"{trigger_name} v{version} has its {trigger.quota_labels} labels"
    campaign.finished.append(
        campaign_pb2.FinishedTrigger(trigger=trigger, reason=reason, finished_at_utc_ns=now_utc_ns)
    )
    campaign.triggers.remove(trigger)
    campaign.reason = reason
    if not campaign.triggers:
        campaign.state = STATES[State.FINISHED]
    publish_revision(tx, campaign, now_utc_ns)
    return True


def _known(tx: Transaction, name: str) -> campaign_pb2.Campaign:
    campaign = current(tx, name)
    if campaign is None:
        raise NotFoundError("no such campaign; ListCampaigns has them all", "campaign")
    return campaign


def _moves_text(state: State) -> str:
    allowed = ", ".join(sorted(MOVES[state])) or "none"
    return f"a campaign that is {state} can go to: {allowed}"
