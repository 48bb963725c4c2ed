"""What the commands print about rollouts: the list, and one rollout with its evidence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from fleetloop.api.models import rollout_state
from fleetloop.backtesting.screen import time_text
from fleetloop.commands.trigger_screens import moment, who
from fleetloop.protos.rollout.v1 import rollout_pb2

_BAR = 20


def short(rollout_id: str) -> str:
    """Return the first digits of an id, which commands accept instead of it."""
    return rollout_id[:8]


def stop_text(stop: rollout_pb2.RolloutStop) -> str:
    """Say who stopped all rollouts; empty while they are not stopped."""
    if not stop.stopped_by:
        return ""
    return (
        f"ALL ROLLOUTS ARE STOPPED by {who(stop.stopped_by)} since {moment(stop.stopped_at_utc_ns)}: {stop.reason}\n"
        "None begins or moves forward until `fleetloop rollouts resume --all`. Candidates are rolled back as before."
    )


def rollouts_table(rollouts: Sequence[rollout_pb2.Rollout], names: Mapping[str, str]) -> Table:
    """Build the table of rollouts; `names` are models by digest."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("rollout", "model", "state", "since (UTC)"):
        table.add_column(name, no_wrap=True)
    table.add_column("vehicles", justify="right")
    table.add_column("evidence", no_wrap=True)
    table.add_column("why", overflow="fold")
    for each in rollouts:
        table.add_row(
            short(each.rollout_id),
            model_name(each.model_digest, names),
            rollout_state(each),
            moment(each.stage_began_at_utc_ns),
            f"{len(each.vehicles)}",
            _evidence_text(each),
            each.reasons[0] if each.reasons else "",
        )
    return table


def model_name(digest: str, names: Mapping[str, str]) -> str:
    """Return the name of a model, or the start of its digest."""
    return names.get(digest, digest[:12])


def _evidence_text(rollout: rollout_pb2.Rollout) -> str:
    if rollout.state != rollout_pb2.ROLLOUT_STATE_RUNNING:
        return ""
    evidence = rollout.evidence
    return f"{_share(evidence.in_favour, evidence.in_favour_needed):.0%} for, " + (
        f"{_share(evidence.against, evidence.against_needed):.0%} against"
    )


def _share(amount: float, needed: float) -> float:
    return max(0.0, min(1.0, amount / needed)) if needed > 0 else 0.0


def rollout_facts(answer: rollout_pb2.GetRolloutResponse, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return all that is known of one rollout, as names with their texts; a text may have several lines."""
    rollout = answer.rollout
    facts = [
        ("rollout", rollout.rollout_id),
        ("model", f"{model_name(rollout.model_digest, names)}, digest {rollout.model_digest}"),
        ("state", rollout_state(rollout)),
    ]
    if rollout.paused_by:
        facts.append(("paused", f"by {who(rollout.paused_by)}: {rollout.pause_reason}"))
    facts.append(("since", f"{time_text(rollout.stage_began_at_utc_ns)} UTC"))
    if rollout.state == rollout_pb2.ROLLOUT_STATE_RUNNING:
        facts.append(("time", _time_text(answer)))
    facts.append(("tries", str(rollout.tries)))
    if rollout.approved_by:
        facts.append(("approved", f"by {who(rollout.approved_by)}"))
    facts.append(("vehicles", _vehicles_text(rollout)))
    facts += _evidence_facts(rollout)
    facts.append(("why", "\n".join(rollout.reasons)))
    if answer.forecast:
        facts.append(("forecast", answer.forecast))
    facts.append(("possible", ", ".join(rollout.possible) or "nothing"))
    return facts


def _time_text(answer: rollout_pb2.GetRolloutResponse) -> str:
    text = f"{_duration(answer.rollout.running_s)} of {_duration(answer.stage_max_s)} in which vehicles reported"
    if answer.extensions_used:
        text += f"; extended {answer.extensions_used} of {answer.extensions} times"
    return text


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _vehicles_text(rollout: rollout_pb2.Rollout) -> str:
    if rollout.state != rollout_pb2.ROLLOUT_STATE_RUNNING:
        return f"{len(rollout.vehicles)} are assigned its model, {rollout.attested} attest it"
    shown, more = rollout.vehicles[:10], len(rollout.vehicles) - 10
    names = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    text = f"{len(rollout.vehicles)} are assigned its model, {rollout.attested} drive with it"
    if names:
        text += f"\n{names}"
    if rollout.silent_vehicles:
        text += f"\n{rollout.silent_vehicles} others have not reported recently; the rollout does not wait for them"
    return text


def _evidence_facts(rollout: rollout_pb2.Rollout) -> list[tuple[str, str]]:
    evidence = rollout.evidence
    facts = [
        ("in favour", _bar(evidence.in_favour, evidence.in_favour_needed, "the next stage")),
        ("against", _bar(evidence.against, evidence.against_needed, "a rollback")),
    ]
    for name, cohort in (("canaries", evidence.canary), ("others", evidence.control), ("in shadow", evidence.shadow)):
        if cohort.vehicles:
            facts.append((name, _cohort_text(cohort)))
    if evidence.decisions:
        facts.append(
            (
                "decisions",
                f"{evidence.decisions:,} in shadow: {evidence.would_have_prevented} interventions prevented, "
                f"{evidence.would_have_avoided} false stops avoided, {evidence.would_have_missed} needed stops "
                f"missed, {evidence.false_alarms} false stops made",
            )
        )
    if evidence.tolerated_vehicles:
        facts.append(("holds", f"also when any {evidence.tolerated_vehicles} vehicles lie"))
    if evidence.outliers:
        facts.append(("left out", f"{', '.join(evidence.outliers)}: far more interventions than all others"))
    refused = sorted(evidence.refused_reports.items(), key=lambda item: (-item[1], item[0]))
    facts.append(
        ("refused reports", "\n".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in refused) or "none")
    )
    return facts


def _bar(amount: float, needed: float, what: str) -> str:
    share = _share(amount, needed)
    filled = round(share * _BAR)
    return f"{'#' * filled}{'.' * (_BAR - filled)} {share:.0%} of what {what} needs"


def _cohort_text(cohort: rollout_pb2.CohortEvidence) -> str:
    rate = f", {100 * cohort.interventions / cohort.km:.1f} per 100 km" if cohort.km else ""
    text = f"{cohort.vehicles} vehicles, {cohort.km:,.1f} km, {cohort.interventions} interventions{rate}"
    troubled = [
        f"{count} {what}"
        for count, what in ((cohort.faulty_vehicles, "with faults of the model"), (cohort.slow_vehicles, "too slow"))
        if count
    ]
    return f"{text}; {', '.join(troubled)}" if troubled else text


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """Build a table of names and texts without lines around it."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(name, text)
    return table
