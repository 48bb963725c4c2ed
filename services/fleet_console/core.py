"""From the services' answers to what the loop's page shows. Pure: time is an argument."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from fleet_console.model import Counts, DrivenModel, Facts, LoopView, Staircase
from fleet_console.stages import stages
from fleet_console.tables import rollout_rows, run_rows, trigger_rows, version_rows
from fleet_console.wording import age, words
from fleetloop.domain.rates import rate_interval
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2

RARE = "rare"
_MODELS_ON_STAIRCASE = 8
NO_MODEL = "no model yet"


def view(facts: Facts, earlier: Counts | None, later: Counts, now_utc_ns: int) -> LoopView:
    """The whole page from the newest facts and the counters of two polls."""
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
    slices = sorted(
        {name for found in per_run for name in found},
        key=lambda name: (name != RARE, name.startswith("night_"), name),
    )
    labels = []
    for run in examined:
        rejected = "" if run.verdict == training_pb2.VERDICT_PASSED else "\nrejected"
        labels.append(names.get(run.model_digest, run.run_id.rpartition("-")[0] or run.run_id) + rejected)
    return Staircase(labels, {name: [each.get(name) for each in per_run] for name in slices})
