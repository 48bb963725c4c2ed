"""From what the services said to what the loop's page shows. Pure: time comes in as an argument."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from fleet.rollout.v1 import rollout_pb2
from fleet.training.v1 import training_pb2
from fleet_console.model import Counts, DrivenModel, Facts, LoopView, Stage, Staircase, Tone
from fleet_console.tables import rollout_rows, run_rows, trigger_rows, version_rows
from fleet_console.wording import NS, age, duration, number, size, words
from fleetdomain.rates import rate_interval

RARE = "rare"
_MODELS_ON_STAIRCASE = 8
NO_MODEL = "no model yet"


def counts_of(facts: Facts, at_monotonic_ns: int) -> Counts:
    """The counters that rates are made of."""
    here = {peer: peer not in facts.away for peer in ("telemetry_archiver", "campaign_keeper", "label_desk")}
    earnings, projects = facts.ledger.earnings, facts.progress.projects
    return Counts(
        at_monotonic_ns,
        frames=_frames(facts) if here["telemetry_archiver"] else None,
        fired=sum(row.fired for row in earnings) if here["campaign_keeper"] else None,
        clips=sum(row.clips for row in earnings) if here["campaign_keeper"] else None,
        labels=sum(sum(project.ended.values()) for project in projects) if here["label_desk"] else None,
    )


def _frames(facts: Facts) -> int:
    return sum(vehicle.frames for vehicle in facts.archive.vehicles)


def rate(earlier: Counts | None, later: Counts, name: str) -> float | None:
    """Events a second between two looks; None without two, or when the counter began anew."""
    if earlier is None or later.at_monotonic_ns <= earlier.at_monotonic_ns:
        return None
    before, after = getattr(earlier, name), getattr(later, name)
    if before is None or after is None or after < before:
        return None
    return float(after - before) * NS / (later.at_monotonic_ns - earlier.at_monotonic_ns)


def rate_text(per_s: float | None, thing: str) -> str:
    """120 frames/s; rare things by the minute."""
    if per_s is None:
        return "measuring"
    if per_s >= 1:
        return f"{number(per_s)} {thing}/s"
    per_min = per_s * 60
    return f"{per_min:.1f} {thing}/min" if 0 < per_min < 10 else f"{number(per_min)} {thing}/min"


def view(facts: Facts, earlier: Counts | None, later: Counts, now_utc_ns: int) -> LoopView:
    """The whole page from the newest facts and the counters of two looks."""
    names = {model.model_digest: model.model_version for model in facts.models.models}
    models = driven_models(facts)
    return LoopView(
        stages=stages(facts, models, earlier, later, now_utc_ns),
        models=models,
        fleet_note=_fleet_note(facts, now_utc_ns),
        staircase=staircase(facts.runs.runs, names),
        triggers=trigger_rows(facts),
        versions=version_rows(facts, now_utc_ns),
        runs=run_rows(facts, names, now_utc_ns),
        rollouts=rollout_rows(facts, names, now_utc_ns),
        away=facts.away,
    )


def stages(
    facts: Facts, models: Sequence[DrivenModel], earlier: Counts | None, later: Counts, now_utc_ns: int
) -> list[Stage]:
    """The eight stations, from a vehicle's telemetry to a model on the vehicle."""

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
    return [
        Stage("Telemetry", number(_frames(facts)), "frames archived", per("frames", "frames"),
              f"from {number(vehicles)} vehicles", away=away.get("telemetry_archiver", "")),
        Stage("Triggers", number(fired), "firings", per("fired", "firings"),
              f"of {len(facts.ledger.earnings)} triggers", away=away.get("campaign_keeper", "")),
        Stage("Clips", number(clips), "clips", per("clips", "clips"), size(bytes_in),
              away=away.get("campaign_keeper", "")),
        Stage("Label tasks", number(open_tasks), "open", f"{number(held)} in somebody's hands", waits,
              Tone.BUSY if open_tasks else Tone.PLAIN, away.get("label_desk", "")),
        Stage("Labels", number(ended), "answered", per("labels", "labels"),
              ", ".join(f"{number(n)} by {_source(name)}" for name, n in sources.most_common()) or "none yet",
              away=away.get("label_desk", "")),
        _dataset(facts, now_utc_ns),
        _training(facts, now_utc_ns),
        _road(facts, models, now_utc_ns),
    ]  # fmt: skip


def _source(name: str) -> str:
    return {"human": "people"}.get(name, words(name))


def _dataset(facts: Facts, now_utc_ns: int) -> Stage:
    away = facts.away.get("dataset_curator", "")
    growing = [version for version in facts.versions.versions if not version.frozen]
    if not growing:
        return Stage("Dataset", "none", "", "", "no version yet", away=away)
    newest = max(growing, key=lambda version: version.committed_at_utc_ns)
    note = f"{number(newest.samples)} samples, {number(newest.added)} new"
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
    note = f"on {newest.dataset} {newest.dataset_version}"
    return Stage("Training", state, f"{len(facts.runs.runs)} runs", age(newest.changed_at_utc_ns, now_utc_ns), note,
                 tone, away)  # fmt: skip


def _road(facts: Facts, models: Sequence[DrivenModel], now_utc_ns: int) -> Stage:
    away = facts.away.get("rollout_controller") or facts.away.get("fleet_monitor", "")
    total = sum(model.driving for model in models)
    most = max(models, key=lambda model: model.driving, default=None)
    if most is None or not most.driving:
        return Stage("On the road", "none", "", "", "no vehicle has reported", away=away)
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
                 Tone.GOOD if most.digest else Tone.PLAIN, away)  # fmt: skip


def driven_models(facts: Facts) -> list[DrivenModel]:
    """The vehicles grouped by the model that they attested, the one that drives most first."""
    driving = Counter(vehicle.model_digest for vehicle in facts.vehicles.vehicles)
    shadowing = Counter(v.shadow_model_digest for v in facts.vehicles.vehicles if v.shadow_model_digest)
    km: dict[str, float] = defaultdict(float)
    interventions: Counter[str] = Counter()
    for row in facts.cohorts.cohorts:
        km[row.model_digest] += row.autopilot_km
        interventions[row.model_digest] += row.interventions
    known = {model.model_digest: model for model in facts.models.models}
    total = sum(driving.values())
    found = []
    for digest in {*driving, *shadowing, *km}:
        model, distance, count = known.get(digest), km[digest], interventions[digest]
        per = (100 * count / distance, *rate_interval(count, distance / 100)) if distance > 0 else None
        found.append(
            DrivenModel(
                name=model.model_version if model else digest[:8] or NO_MODEL,
                digest=digest,
                stage=words(rollout_pb2.ModelStage.Name(model.stage), "MODEL_STAGE_") if model else "",
                driving=driving[digest],
                shadowing=shadowing[digest],
                share=driving[digest] / total if total else 0.0,
                km=distance,
                interventions=count,
                per_100km=per,
            )
        )
    return sorted(found, key=lambda each: (-each.driving, -each.shadowing, -each.km, each.name))


def _fleet_note(facts: Facts, now_utc_ns: int) -> str:
    if not facts.vehicles.vehicles:
        return "No vehicle has reported yet."
    newest = max(vehicle.seen_at_utc_ns for vehicle in facts.vehicles.vehicles)
    return f"{len(facts.vehicles.vehicles)} vehicles; the last report came {age(newest, now_utc_ns)}."


def staircase(runs: Sequence[training_pb2.RunChanged], names: dict[str, str]) -> Staircase:
    """Recall per slice of every examined model, oldest first; of the task that has rare slices."""
    examined = [run for run in reversed(runs) if run.state == training_pb2.RUN_STATE_EVALUATED and run.metrics]
    examined = examined[-_MODELS_ON_STAIRCASE:]
    tasks = Counter(m.task for run in examined for m in run.metrics if m.name == "recall" and m.slice == RARE)
    task = tasks.most_common(1)[0][0] if tasks else ""
    per_run = [
        {m.slice: (m.value, m.low, m.high) for m in run.metrics if m.task == task and m.name == "recall"}
        for run in examined
    ]
    slices = sorted({name for found in per_run for name in found}, key=lambda name: (name != RARE, name))
    labels = []
    for run in examined:
        rejected = "" if run.verdict == training_pb2.VERDICT_PASSED else "\nrejected"
        labels.append(names.get(run.model_digest, run.run_id.rpartition("-")[0] or run.run_id) + rejected)
    return Staircase(labels, {name: [found.get(name) for found in per_run] for name in slices})
