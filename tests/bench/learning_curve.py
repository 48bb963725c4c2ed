"""Does a turn of the loop teach the net its long tail? First run against turns, over several seeds.

    python -m tests.bench.learning_curve run --seed 0 --out /tmp/learning
    python -m tests.bench.learning_curve draw --out /tmp/learning --picture docs/results/learning.png

One seed: the first recipe only on plain cases, then the turn recipe on those and `--labels` rare ones as the fleet
brings them in (some kinds more often than others, false alarms among them, 5 % of the answers wrong), then once more
from there with as many again. Every model is examined on the same frozen scenes. Every seed has towns of its own.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from fleetloop.domain.tasks import Answers, TaskSchema, load_task_schema
from fleetloop.worlds.town.labelled import (
    PLAIN_TOWN_SEED,
    RARE_SLICES,
    TEST_TOWN_SEED,
    Scenes,
    plain_counts,
    sample,
    test_counts,
)
from perception import evaluate
from perception.data import Samples
from perception.examination.plan import ExaminationPlan
from perception.examination.slices import examine, examine_first
from perception.inference import predict
from perception.recipe import load_recipe
from perception.train import train

MINED_SHARES = {
    "day": {"night_plain": 0.20, "leaves": 0.22, "placard": 0.17, "held": 0.14, "truck": 0.12, "none": 0.15},
    "night": {
        "leaves": 0.18, "placard": 0.13, "held": 0.10, "truck": 0.09, "none": 0.09, "night_plain": 0.18,
        "night_leaves": 0.05, "night_placard": 0.05, "night_held": 0.04, "night_truck": 0.04, "night_none": 0.05,
    },
}  # fmt: skip
"""The mined slices: by day the rare ones and by night only the plain sign, or the rare ones by night as well."""
WRONG_SHARE = 0.05


def mined(schema: TaskSchema, seed: int, count: int, mix: str | Mapping[str, float]) -> Scenes:
    """What a fleet brings in: only the stop sign is answered, sometimes wrongly.

    `mix` is the share of each slice, or the name of one of MINED_SHARES.
    """
    rng = np.random.default_rng((seed, count, 1))
    shares = MINED_SHARES[mix] if isinstance(mix, str) else mix
    counts = {name: round(count * share) for name, share in shares.items()}
    scenes = sample(schema, 10_000 + seed * 100, counts, rng)
    names = [choice.name for choice in schema.task("stop_sign").answers]
    told: list[Answers] = []
    choices = []
    for choice in scenes.choices:
        if rng.random() < WRONG_SHARE:
            choice = str(rng.choice([name for name in names if name != choice]))
        choices.append(choice)
        told.append({"stop_sign": schema.task("stop_sign").answer(choice).heads})
    return Scenes(scenes.frames, told, choices, scenes.slices, scenes.places, scenes.times_ns)


def as_samples(schema: TaskSchema, scenes: Scenes, trigger: str = "") -> Samples:
    """Scenes as the training reads them."""
    encoded = [schema.encode(told) for told in scenes.answers]
    targets = {column: np.stack([answer[column] for answer in encoded]) for column in schema.columns()}
    groups = [f"{trigger}/{choice}" if trigger else "" for choice in scenes.choices]
    return Samples(scenes.frames, targets, scenes.slices, groups)


def joined(left: Samples, right: Samples, rows: int) -> Samples:
    """`left` and the first `rows` of a shuffled `right`."""
    chosen = np.random.default_rng(0).permutation(len(right))[:rows]
    return Samples(
        np.concatenate([left.frames, right.frames[chosen]]),
        {column: np.concatenate([left.targets[column], right.targets[column][chosen]]) for column in left.targets},
        [*left.slices, *(right.slices[row] for row in chosen)],
        [*left.groups, *(right.groups[row] for row in chosen)],
    )


def run(seed: int, labels: int, plain: int, each: int, mix: str, out: Path) -> None:
    """One seed; leaves out/seed-<n>.json."""
    torch.set_num_threads(1)
    schema = load_task_schema(Path("config/tasks.yaml"))
    recipes = {name: load_recipe(Path(f"config/recipes/{name}.yaml"), schema) for name in ("first", "turn")}
    everyday = as_samples(
        schema, sample(schema, PLAIN_TOWN_SEED + seed * 100, plain_counts(plain), np.random.default_rng(seed))
    )
    rare = as_samples(schema, mined(schema, seed, 2 * labels, mix), "mined")
    test = as_samples(schema, sample(schema, TEST_TOWN_SEED, test_counts(each), np.random.default_rng(0)))
    out.mkdir(parents=True, exist_ok=True)
    steps, parent, parent_right = [], None, None
    for number, (recipe, rows) in enumerate((("first", 0), ("turn", labels), ("turn", 2 * labels))):
        began, processor = time.monotonic(), time.thread_time()
        trained = train(joined(everyday, rare, rows), schema, recipes[recipe], seed * 10 + number, parent=parent)
        spent = time.monotonic() - began, time.thread_time() - processor
        parent = out / f"seed-{seed}-{number}.safetensors"
        save_file(trained.net.state_dict(), parent)
        outputs = predict(trained.net, test.frames, schema)
        plain_slices = recipes[recipe].plain_slices
        found = evaluate.metrics(schema, outputs, test.targets, test.slices, plain_slices)
        right = evaluate.correct_answers(schema, outputs, test.targets)
        if parent_right is None:
            verdict = examine_first(schema, right, test.slices, plain_slices)
        else:
            verdict = examine(right, parent_right, test.slices, plain_slices, ExaminationPlan().error)
        parent_right = right
        step = {
            "seed": seed, "recipe": recipe, "labels": rows, "steps": trained.steps, "seconds": spent[0],
            "processor_s": spent[1], "passed": verdict.passed, "reasons": verdict.reasons,
            "recall": {m.slice: m.value for m in found if m.task == "stop_sign" and m.name == "recall"},
            "accuracy": {m.task: m.value for m in found if m.name == "accuracy"},
        }  # fmt: skip
        steps.append(step)
        recall = " ".join(f"{m.slice} {m.value:.2f}" for m in found if m.task == "stop_sign" and m.name == "recall")
        print(
            f"seed {seed} {recipe} +{rows}: {recall} | {spent[0]:.0f} s, {trained.steps} steps, {verdict.reasons}",
            flush=True,
        )
        (out / f"seed-{seed}.json").write_text(json.dumps(steps, indent=1))


def draw(out: Path, picture: Path) -> None:
    """All seeds as one picture: a staircase per slice, every seed a dot, the mean a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [json.loads(path.read_text()) for path in sorted(out.glob("seed-*.json"))]
    shown = ("plain", "none", "light", "rare", *RARE_SLICES)
    figure, axes = pyplot.subplots(1, len(shown), figsize=(15, 3.4), sharey=True)
    for axis, name in zip(axes, shown, strict=True):
        values = np.array([[step["recall"][name] for step in steps] for steps in runs])
        positions = np.arange(values.shape[1])
        colour = "tab:green" if name in ("plain", "none", "light") else "tab:red" if name == "rare" else "tab:blue"
        axis.step(positions, values.mean(0), where="mid", color=colour)
        for row in values:
            axis.plot(positions, row, "o", color=colour, alpha=0.5, markersize=4)
        labels = [step["labels"] for step in runs[0]]
        axis.set_title(name.replace("_", " "), fontsize=10)
        axis.set_xticks(positions, [f"+{count}" if count else "first" for count in labels], fontsize=8)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylim(-0.02, 1.02)
    axes[0].set_ylabel("scenes answered correctly")
    figure.suptitle(
        f"First run and two turns, {len(runs)} seeds (dots); rare labels in the training set below", fontsize=10
    )
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "draw"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--plain", type=int, default=1500)
    parser.add_argument("--each", type=int, default=60, help="test scenes of each slice")
    parser.add_argument("--mix", choices=list(MINED_SHARES), default="day", help="what is mined")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, default=Path("docs/results/learning.png"))
    given = parser.parse_args()
    if given.what == "run":
        run(given.seed, given.labels, given.plain, given.each, given.mix, given.out)
    else:
        draw(given.out, given.picture)


if __name__ == "__main__":
    main()
