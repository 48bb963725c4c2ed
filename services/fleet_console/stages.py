"""The stages of the loop, from a vehicle's telemetry to a model on the vehicle, one card each. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fleet_console.model import Counts, DrivenModel, Facts, Stage, Tone
from fleet_console.rates import archived_frames, rate, rate_text
from fleet_console.wording import age, duration, number, size, words
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2


def stages(
    facts: Facts, models: Sequence[DrivenModel], earlier: Counts | None, later: Counts, now_utc_ns: int
) -> list[Stage]:
    """The eight stages, from a vehicle's telemetry to a model on the vehicle."""

    def per(name: str, thing: str) -> str:
        return rate_text(rate(earlier, later, name), thing)

    away = facts.away
    projects = facts.progress.projects
    oldest_s = max((project.oldest_open_s for project in projects), default=0.0)
    held = sum(project.leased for project in projects)
    sources: Counter[str] = Counter()
    for project in projects:
        sources.update(project.by_source)
    open_tasks = sum(project.open for project in projects)
    vehicles = len(facts.archive.vehicles)
    waits = f"oldest waits {duration(oldest_s)}" if open_tasks else "nothing waits"
    fired, clips = sum(row.fired for row in facts.ledger.earnings), sum(row.clips for row in facts.ledger.earnings)
    ended = sum(sum(project.ended.values()) for project in projects)
    bytes_in = sum(row.clip_bytes for row in facts.ledger.earnings)
    shown = [
        Stage("Telemetry", number(archived_frames(facts)), "frames archived", per("frames", "frames"),
              f"from {number(vehicles)} vehicles", away=away.get("telemetry_archiver", "")),
        Stage("Triggers", number(fired), "firings", per("fired", "firings"),
              f"of {len(facts.ledger.earnings)} triggers", away=away.get("campaign_keeper", "")),
        Stage("Clips", number(clips), "clips", per("clips", "clips"), size(bytes_in),
              away=away.get("campaign_keeper", "")),
        Stage("Label tasks", number(open_tasks), "open", f"{number(held)} leased", waits,
              Tone.BUSY if open_tasks else Tone.PLAIN, away.get("label_desk", "")),
        Stage("Labels", number(ended), "answered", per("labels", "labels"),
              ", ".join(f"{number(n)} by {_source(name)}" for name, n in sources.most_common()) + _agreement(facts)
              or "none yet", Tone.BAD if _is_contradicted(facts) else Tone.PLAIN, away.get("label_desk", "")),
        _dataset(facts, now_utc_ns),
        _training(facts, now_utc_ns),
        _road(facts, models, now_utc_ns),
    ]  # fmt: skip
    return [stage if facts.heard & _BEHIND[stage.name] else _unknown(stage) for stage in shown]


_BEHIND = {
    "Telemetry": {"telemetry_archiver"},
    "Triggers": {"campaign_keeper"},
    "Clips": {"campaign_keeper"},
    "Label tasks": {"label_desk"},
    "Labels": {"label_desk"},
    "Dataset": {"dataset_curator"},
    "Training": {"training_orchestrator"},
    "On the road": {"rollout_controller", "fleet_monitor"},
}
"""The services that a stage's figures come from."""


def _unknown(stage: Stage) -> Stage:
    """A stage whose service never answered: no figure is better than a zero that was not counted."""
    return Stage(stage.name, "–", "", "", "", away=stage.away or "not asked yet")


def _source(name: str) -> str:
    return {"human": "people"}.get(name, words(name))


def _agreement(facts: Facts) -> str:
    """How often people agreed with each automatic source, and how many vehicles lost their automatic labels."""
    text = ""
    for each in facts.agreement.sources:
        name = words(label_pb2.LabelSource.Name(each.source), "LABEL_SOURCE_")
        interval = f"{each.low:.0%} to {each.high:.0%}"
        text += f"; people agree with {number(each.agreed)} of {number(each.checked)} by {name} ({interval})"
        text += "" if each.decides else f": {name} decides nothing"
    stopped = facts.agreement.contradicted_vehicles
    return text + (f"; {number(stopped)} vehicles without automatic labels" if stopped else "")


def _is_contradicted(facts: Facts) -> bool:
    return facts.agreement.contradicted_vehicles > 0 or any(not each.decides for each in facts.agreement.sources)


def _dataset(facts: Facts, now_utc_ns: int) -> Stage:
    away = facts.away.get("dataset_curator", "")
    growing = [version for version in facts.versions.versions if not version.frozen]
    if not growing:
        return Stage("Dataset", "none", "", "", "no version yet", away=away)
    newest = max(growing, key=lambda version: version.committed_at_utc_ns)
    change = f"{number(newest.changed)} retracted" if newest.changed else f"{number(newest.added)} new"
    note = f"{number(newest.samples)} samples, {change}"
    return Stage("Dataset", newest.version, newest.dataset, age(newest.committed_at_utc_ns, now_utc_ns), note,
                 away=away)  # fmt: skip


_RUN_TONES = {
    training_pb2.RUN_STATE_RUNNING: Tone.BUSY,
    training_pb2.RUN_STATE_QUEUED: Tone.BUSY,
    training_pb2.RUN_STATE_FAILED: Tone.BAD,
}


def _training(facts: Facts, now_utc_ns: int) -> Stage:
    away = facts.away.get("training_orchestrator", "")
    if not facts.runs.runs:
        return Stage("Training", "idle", "", "", "no run yet", away=away)
    newest = facts.runs.runs[0]
    state = words(training_pb2.RunState.Name(newest.state), "RUN_STATE_")
    tone = _RUN_TONES.get(newest.state, Tone.PLAIN)
    if newest.state == training_pb2.RUN_STATE_EVALUATED:
        passed = newest.verdict == training_pb2.VERDICT_PASSED
        state, tone = ("passed", Tone.GOOD) if passed else ("rejected", Tone.BAD)
    runs = "1 run" if len(facts.runs.runs) == 1 else f"{len(facts.runs.runs)} runs"
    note = f"on {newest.dataset} {newest.dataset_version}"
    return Stage("Training", state, runs, age(newest.changed_at_utc_ns, now_utc_ns), note, tone, away)


def _road(facts: Facts, models: Sequence[DrivenModel], now_utc_ns: int) -> Stage:
    away = facts.away.get("rollout_controller") or facts.away.get("fleet_monitor", "")
    total = sum(model.driving for model in models)
    most = max(models, key=lambda model: model.driving, default=None)
    if most is None or not most.driving:
        return Stage("On the road", "none", "", "", "no vehicle has reported", away=away)
    if not most.digest:
        return Stage("On the road", "no model", "", "", f"on {most.driving} of {total} vehicles", away=away)
    note = f"drives {most.driving} of {total} vehicles"
    running = [each for each in facts.rollouts.rollouts if each.state == rollout_pb2.ROLLOUT_STATE_RUNNING]
    if running:
        names = {model.model_digest: model.model_version for model in facts.models.models}
        stage = words(rollout_pb2.ModelStage.Name(running[0].stage), "MODEL_STAGE_")
        coming = f"{names.get(running[0].model_digest, running[0].model_digest[:8])} {stage}"
        return Stage("On the road", most.name, "", coming, note, Tone.BUSY, away)
    newest = facts.rollouts.rollouts[0] if facts.rollouts.rollouts else None
    when = age(newest.last_attested_at_utc_ns, now_utc_ns) if newest else ""
    return Stage("On the road", most.name, "", f"since {when}" if when else "", note,
                 Tone.GOOD, away)  # fmt: skip
