"""What changes campaigns: files that are applied, states that are set, and quotas that are met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from campaign_keeper import queries
from campaign_keeper.codec import campaign_bytes, campaign_event
from campaign_keeper.core import (
    MOVES,
    Change,
    authors_after_change,
    authors_of,
    compare,
    contents,
    may_approve,
    may_move,
    quota_is_met,
    state_after_apply,
)
from campaign_keeper.model import Applied, Campaign, FinishedTrigger, Problem, State, TriggerDefinition
from campaign_keeper.ports import Examine
from campaign_keeper.queries import REVISIONS_KEPT
from campaign_keeper.store import CampaignRow, ResumptionRow, RevisionRow
from fleetloop.kit.refusal import FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from fleetloop.kit.storage.database import Transaction


def publish_revision(tx: Transaction, campaign: Campaign, now_utc_ns: int, by: str = "") -> Campaign:
    """Store `campaign` as the next revision and announce it. `by` is empty when the keeper itself changed it."""
    before = tx.session.get(CampaignRow, campaign.campaign)
    revision = 1 if before is None else before.revision + 1
    revised = replace(campaign, revision=revision, published_at_utc_ns=now_utc_ns, changed_by=by)
    raw = campaign_bytes(revised)
    tx.session.merge(CampaignRow(campaign=revised.campaign, revision=revision, message=raw))
    tx.session.add(RevisionRow(campaign=revised.campaign, revision=revision, message=raw))
    tx.session.execute(
        sa.delete(RevisionRow).where(
            RevisionRow.campaign == revised.campaign, RevisionRow.revision <= revision - REVISIONS_KEPT
        )
    )
    tx.publish(campaign_event(revised))
    return revised


def apply(
    tx: Transaction,
    wanted: Campaign,
    dry_run: bool,
    now_utc_ns: int,
    examine: Examine,
    by: str = "",
    second_person: bool = False,
) -> Applied:
    """Bring a campaign's files into force, or say what is wrong, or what would change in a dry run.

    A trigger that has ended (its quota was met) and is applied unchanged stays ended. Nothing is written in a dry
    run, nor when there are problems. Raises FailedPreconditionError when the campaign may not go to the state wanted,
    and PermissionDeniedError when it would run and `second_person` asks for the approval of another.
    """
    before = queries.find_campaign(tx, wanted.campaign)
    ended = {each.trigger.name: each for each in before.finished} if before else {}
    old = contents([*before.triggers, *(each.trigger for each in before.finished)]) if before else {}
    change = compare(old, contents(wanted.triggers))
    problems = [*examine(wanted.triggers), *_stale(change, old), *_name_conflicts(tx, wanted)]
    state_before = before.state if before else None
    state = state_after_apply(state_before, wanted.state, not change.is_empty, second_person)
    asked = wanted.state is not None or not second_person  # otherwise the change itself ends the approval
    if state_before is not None and asked and not may_move(state_before, state):
        raise FailedPreconditionError(_moves_text(state_before), "campaign.state")
    authors = authors_after_change(before, by) if before is None or not change.is_empty else authors_of(before)
    unapproved = before is None or not change.is_empty or not before.approved_by
    begins = state is State.RUNNING and unapproved
    if begins:
        _refuse_own_approval(replace(wanted, authors=authors), by, second_person)
    approval = (by, now_utc_ns) if begins else _kept_approval(before, state, change)
    stay_ended = sorted(ended.keys() & {t.name for t in wanted.triggers} - set(change.changed))
    same = before is not None and change.is_empty and state is state_before
    if problems or dry_run or same:
        after = before or wanted
    else:
        after = publish_revision(
            tx,
            Campaign(
                campaign=wanted.campaign,
                state=state,
                triggers=tuple(t for t in wanted.triggers if t.name not in stay_ended),
                in_force_from_utc_ns=wanted.in_force_from_utc_ns,
                reason=wanted.reason,
                finished=tuple(ended[name] for name in stay_ended),
                approved_by=approval[0],
                approved_at_utc_ns=approval[1],
                authors=authors,
            ),
            now_utc_ns,
            by,
        )
    return Applied(after, change.added, change.changed, change.removed, stay_ended, problems)


def _kept_approval(before: Campaign | None, state: State, change: Change) -> tuple[str, int]:
    """Who approved the campaign and when, as far as it still holds after its files were applied."""
    if before is None or not change.is_empty or state not in (State.RUNNING, State.SUSPENDED):
        return "", 0
    return before.approved_by, before.approved_at_utc_ns


def _refuse_own_approval(campaign: Campaign, by: str, second_person: bool) -> None:
    if not may_approve(campaign, by, second_person):
        raise PermissionDeniedError(
            f"{by} is an author of {campaign.campaign}, and a second person has to approve it",
            "campaign",
            f"apply it without a state, and let somebody else call `fleetloop triggers approve {campaign.campaign}`",
        )


def _stale(change: Change, old: dict[str, tuple[int, bytes]]) -> list[Problem]:
    return [
        Problem(
            trigger=name,
            field="version",
            message=f"the trigger changed: raise its version above {old[name][0]}, to tell its firings apart",
        )
        for name in change.stale
    ]


def _name_conflicts(tx: Transaction, wanted: Campaign) -> list[Problem]:
    """Firings are named by their trigger, so a trigger's name may be in one campaign only."""
    owners = {
        trigger.name: other.campaign
        for other in queries.campaigns(tx)
        if other.campaign != wanted.campaign and other.state is not State.FINISHED
        for trigger in other.triggers
    }
    return [
        Problem(
            trigger=trigger.name,
            field="name",
            message=f"the campaign {owners[trigger.name]} has a trigger of this name: rename it, or finish that one",
        )
        for trigger in wanted.triggers
        if trigger.name in owners
    ]


def _refuse_name_conflicts(tx: Transaction, campaign: Campaign) -> None:
    for problem in _name_conflicts(tx, campaign):
        raise FailedPreconditionError(problem.message, problem.trigger)


def set_state(
    tx: Transaction,
    name: str,
    wanted: State | None,
    only_from: State | None,
    reason: str,
    now_utc_ns: int,
    by: str = "",
    second_person: bool = False,
) -> Campaign:
    """Move a campaign to another state. `only_from` None allows any state that it is in.

    Raises NotFoundError, InvalidArgumentError when no state is wanted, FailedPreconditionError with the moves that
    are allowed, and PermissionDeniedError when `second_person` asks for the approval of another.
    """
    before = queries.known_campaign(tx, name)
    if wanted is None:
        raise InvalidArgumentError("name the state wanted", "state")
    current = before.state or State.DRAFT
    if not may_move(current, wanted) or (only_from is not None and current is not only_from):
        raise FailedPreconditionError(_moves_text(current), "state")
    if wanted is State.RUNNING and not before.triggers:
        raise FailedPreconditionError("no trigger of it is left: resume or apply one", "campaign")
    if wanted is not State.FINISHED:
        _refuse_name_conflicts(tx, before)
    if wanted is current:
        return before
    after = replace(before, state=wanted, reason=reason)
    if wanted is State.RUNNING and (current is State.WAITING or not before.approved_by):
        _refuse_own_approval(before, by, second_person)
        after = replace(after, approved_by=by, approved_at_utc_ns=now_utc_ns)
    if wanted in (State.DRAFT, State.WAITING):
        after = replace(after, approved_by="", approved_at_utc_ns=0)
    return publish_revision(tx, after, now_utc_ns, by)


def resume_trigger(
    tx: Transaction,
    campaign_name: str,
    trigger_name: str,
    reason: str,
    now_utc_ns: int,
    by: str = "",
    second_person: bool = False,
) -> Campaign:
    """Start a trigger again whose quota was met; its quota counts from the labels that it has now.

    A campaign that ended with its last trigger runs again, approved by the caller. Raises NotFoundError when the
    campaign does not exist or the trigger has not ended.
    """
    campaign = queries.known_campaign(tx, campaign_name)
    ended = next((each for each in campaign.finished if each.trigger.name == trigger_name), None)
    if ended is None:
        names = ", ".join(sorted(each.trigger.name for each in campaign.finished)) or "none"
        raise NotFoundError(f"it has not ended; these have: {names}", "trigger")
    trigger = ended.trigger
    tx.session.merge(
        ResumptionRow(
            campaign=campaign_name,
            trigger=trigger.name,
            version=trigger.version,
            labelled=queries.labels_of(tx, campaign_name, trigger.name, trigger.version),
        )
    )
    resumed = replace(
        campaign,
        triggers=(*campaign.triggers, trigger),
        finished=tuple(each for each in campaign.finished if each is not ended),
        reason=reason or f"{trigger_name} was resumed",
    )
    _refuse_name_conflicts(tx, resumed)
    if campaign.state is State.FINISHED:
        _refuse_own_approval(campaign, by, second_person)
        resumed = replace(resumed, state=State.RUNNING, approved_by=by, approved_at_utc_ns=now_utc_ns)
    return publish_revision(tx, resumed, now_utc_ns, by)


def end_when_quota_is_met(
    tx: Transaction, campaign_name: str, trigger_name: str, version: int, accepted_labels: int, now_utc_ns: int
) -> bool:
    """End a trigger once its quota of labels is met, and its campaign with its last trigger; True when it ended."""
    campaign = queries.find_campaign(tx, campaign_name)
    if campaign is None or campaign.state is not State.RUNNING:
        return False
    trigger = _find(campaign.triggers, trigger_name, version)
    if trigger is None:
        return False
    resumed = tx.session.get(ResumptionRow, (campaign_name, trigger_name, version))
    if not quota_is_met(accepted_labels, trigger.quota_labels, resumed.labelled if resumed else 0):
        return False
    reason = f"{trigger_name} v{version} has its {trigger.quota_labels} labels"
    left = tuple(each for each in campaign.triggers if each is not trigger)
    ended = replace(
        campaign,
        triggers=left,
        finished=(*campaign.finished, FinishedTrigger(trigger, reason, now_utc_ns)),
        reason=reason,
        state=campaign.state if left else State.FINISHED,
    )
    publish_revision(tx, ended, now_utc_ns)
    return True


def _find(triggers: Iterable[TriggerDefinition], name: str, version: int) -> TriggerDefinition | None:
    return next((each for each in triggers if each.name == name and each.version == version), None)


def _moves_text(state: State) -> str:
    allowed = ", ".join(sorted(MOVES[state])) or "none"
    return f"a campaign that is {state} can go to: {allowed}"
