"""The rows of the loop page's tables, newest first. Pure."""

from __future__ import annotations

from collections import Counter

from fleet_console.model import Facts, Row
from fleet_console.wording import age, listed, number, size, words
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.route.v1 import route_pb2
from fleetloop.protos.training.v1 import training_pb2


def trigger_rows(facts: Facts) -> list[Row]:
    """What each trigger earned: fired, clips, tasks, labelled, kept, and why the rest was dropped."""
    waiting: Counter[str] = Counter()
    for count in facts.firings.counts:
        if count.decision == route_pb2.ROUTE_DECISION_CLIP_WANTED:
            waiting[count.trigger] += count.firings
    return [
        {
            "key": f"{row.campaign}/{row.trigger}/{row.version}",
            "trigger": f"{words(row.trigger)} v{row.version}",
            "fired": number(row.fired),
            "waiting": number(waiting[row.trigger]),
            "clips": number(row.clips),
            "bytes": size(row.clip_bytes),
            "tasks": number(row.tasks),
            "labelled": number(row.labelled),
            "kept": number(row.kept),
            "dropped": listed(dict(row.dropped)) or "–",
        }
        for row in sorted(facts.ledger.earnings, key=lambda row: (-row.fired, row.trigger, row.version))
    ]


def version_rows(facts: Facts, now_utc_ns: int) -> list[Row]:
    """Dataset versions with where their samples came from."""
    rows: list[Row] = []
    for version in sorted(facts.versions.versions, key=lambda version: -version.committed_at_utc_ns):
        sources: Counter[str] = Counter()
        for row in version.by_trigger:
            sources[row.trigger or "imported"] += row.samples
        removed = f" −{number(version.changed)}" if version.changed else ""
        rows.append(
            {
                "key": f"{version.dataset}/{version.version}",
                "version": f"{version.dataset} {version.version}",
                "samples": number(version.samples),
                "added": f"+{number(version.added)}{removed}",
                "from": listed(sources) or "–",
                "refused": listed(dict(version.refused)) or "–",
                "reason": version.reason + (" (frozen)" if version.frozen else ""),
                "when": age(version.committed_at_utc_ns, now_utc_ns),
            }
        )
    return rows


def run_rows(facts: Facts, names: dict[str, str], now_utc_ns: int) -> list[Row]:
    """Training runs with what the examination said."""
    rows: list[Row] = []
    for run in facts.runs.runs:
        state = words(training_pb2.RunState.Name(run.state), "RUN_STATE_")
        if run.verdict:
            state = words(training_pb2.Verdict.Name(run.verdict), "VERDICT_")
        rows.append(
            {
                "key": run.run_id,
                "run": run.run_id,
                "state": state,
                "dataset": f"{run.dataset} {run.dataset_version}",
                "model": names.get(run.model_digest, run.model_digest[:8]) or "–",
                "why": run.why,
                "reasons": " ".join(run.reasons) or "–",
                "when": age(run.changed_at_utc_ns, now_utc_ns),
            }
        )
    return rows


def rollout_rows(facts: Facts, names: dict[str, str], now_utc_ns: int) -> list[Row]:
    """Rollouts with how far they have come."""
    rows: list[Row] = []
    for rollout in facts.rollouts.rollouts:
        stage = words(rollout_pb2.ModelStage.Name(rollout.stage), "MODEL_STAGE_")
        if rollout.stage == rollout_pb2.MODEL_STAGE_CANARY:
            stage = f"canary {rollout.canary_percent} %"
        rows.append(
            {
                "key": rollout.rollout_id,
                "model": names.get(rollout.model_digest, rollout.model_digest[:8]),
                "state": words(rollout_pb2.RolloutState.Name(rollout.state), "ROLLOUT_STATE_"),
                "stage": stage,
                "attested": f"{rollout.attested} of {len(rollout.vehicles)}" if rollout.vehicles else "–",
                "reasons": " ".join(rollout.reasons) or "–",
                "when": age(rollout.stage_began_at_utc_ns, now_utc_ns),
            }
        )
    return rows
