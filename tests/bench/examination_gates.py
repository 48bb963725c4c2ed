"""Twenty planted regressions and twenty good candidates before the gates of the examination.

    python -m tests.bench.examination_gates [--good 20] [--processes 2] [--scenes 180 --vehicles 16]

The model in the field is one that turned the loop once: plain cases, then mined ones, few of some kinds. Good
candidates are real training runs from it, each with more samples of every kind and another seed. The regressions are
planted in a candidate that passed. All are examined as a training run examines its model, on streets on which none
was trained.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from tests.bench.learning_curve import as_samples, joined, mined
from tests.bench.planted_regressions import REGRESSIONS, Regression, mislabel

from fleetloop.domain.artifacts import WEIGHTS
from fleetloop.domain.run_folder import Gate
from fleetloop.domain.tasks import TaskSchema, load_task_schema
from fleetloop.shipped import config_folder
from fleetloop.worlds.town.labelled import (
    PLAIN_TOWN_SEED,
    TEST_SLICES,
    TEST_TOWN_SEED,
    plain_counts,
    sample,
    test_counts,
)
from perception.data import Samples
from perception.examination.gates import Examinee, Paper, examine_model
from perception.examination.plan import load_budget, load_plan
from perception.export import export
from perception.model import Net
from perception.recipe import load_recipe
from perception.train import train

RESULTS, OUTCOMES = Path(".fleetloop/bench/results.json"), Path(".fleetloop/bench/examination.json")
GATES = ("slices", "budget", "cases", "calibration", "robustness", "temporal", "closed_loop")
CONFIG = config_folder()
PLAIN, MINED, MORE, EACH = 1500, 700, 1400, 60
"""Plain cases, mined samples of the parent, more of a candidate, scenes per slice of the test set."""
PARENT = "parent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the gates said of one model."""

    name: str
    gates: tuple[Gate, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return all(each.passed for each in self.gates)

    @property
    def refused_by(self) -> list[str]:
        return [each.name for each in self.gates if not each.passed]


@lru_cache(maxsize=1)
def schema_of() -> TaskSchema:
    """The shipped task schema."""
    return load_task_schema(CONFIG / "tasks.yaml")


@lru_cache(maxsize=1)
def test_set() -> Samples:
    """Scenes of every slice, of towns in which nothing is trained."""
    schema = schema_of()
    return as_samples(schema, sample(schema, TEST_TOWN_SEED, test_counts(EACH), np.random.default_rng(0)))


@lru_cache(maxsize=1)
def plain_cases() -> Samples:
    """What the parent is trained on."""
    schema = schema_of()
    return as_samples(schema, sample(schema, PLAIN_TOWN_SEED, plain_counts(PLAIN), np.random.default_rng(1)))


@lru_cache(maxsize=1)
def first_turn() -> Samples:
    """The plain cases with what a fleet brought in, of some kinds little."""
    schema = schema_of()
    return joined(plain_cases(), as_samples(schema, mined(schema, 1, MINED, "night"), "mined"), MINED)


def with_more(seed: int) -> Samples:
    """The same with more, as many of every slice."""
    schema = schema_of()
    shares = dict.fromkeys(TEST_SLICES, 1 / len(TEST_SLICES))
    more = as_samples(schema, mined(schema, 100 + seed, MORE, shares), "mined")
    return joined(first_turn(), more, len(more))


def make_parent(folder: Path) -> None:
    """Train and export the model in the field."""
    torch.set_num_threads(1)
    schema = schema_of()
    first = train(plain_cases(), schema, load_recipe(CONFIG / "recipes" / "first.yaml", schema), 1).net
    save_file(first.state_dict(), folder / "first.safetensors")
    recipe = load_recipe(CONFIG / "recipes" / "turn.yaml", schema)
    turned = train(first_turn(), schema, recipe, 2, parent=folder / "first.safetensors").net
    export(turned, schema, {"schema_version": schema.version}, folder / PARENT)


def make_candidate(folder: Path, seed: int, mislabelled: tuple[str, str] | None = None) -> Net:
    """Train a candidate from the parent."""
    schema = schema_of()
    samples = with_more(seed)
    if mislabelled is not None:
        samples = mislabel(samples, schema, *mislabelled)
    recipe = load_recipe(CONFIG / "recipes" / "turn.yaml", schema)
    return train(samples, schema, recipe, seed, parent=folder / PARENT / WEIGHTS).net


@lru_cache(maxsize=1)
def paper_of(folder: Path) -> Paper:
    """What every model is asked. Cases are what the model in the field knew."""
    schema = schema_of()
    recipe = load_recipe(CONFIG / "recipes" / "turn.yaml", schema)
    plan, budget = load_plan(folder / "examination.yaml"), load_budget(CONFIG / "vehicle.yaml")
    return Paper(schema, CONFIG / "tasks.yaml", plan, budget, test_set(), first_turn(), recipe.plain_slices)


def examined(folder: Path, name: str, net: Net) -> Outcome:
    """Export a net and let every gate judge it."""
    began = time.monotonic()
    model, paper = folder / name.replace(" ", "-"), paper_of(folder)
    export(net, paper.schema, {"schema_version": paper.schema.version}, model)
    gates = tuple(examine_model(Examinee(model, paper), in_field(folder), paper))
    return Outcome(name, gates, time.monotonic() - began)


@lru_cache(maxsize=1)
def in_field(folder: Path) -> Examinee:
    """The model in the field, which answers each question once per process."""
    return Examinee(folder / PARENT, paper_of(folder))


def good(folder: Path, seed: int) -> Outcome:
    """Train and examine a good candidate; its weights stay in the folder."""
    torch.set_num_threads(1)
    net = make_candidate(folder, seed)
    save_file(net.state_dict(), folder / f"good-{seed}.safetensors")
    return examined(folder, f"good-{seed}", net)


def planted(folder: Path, number: int, base: int) -> Outcome:
    """Plant a regression in the good candidate of seed `base`, and examine it."""
    torch.set_num_threads(1)
    regression, schema = REGRESSIONS[number], schema_of()
    if regression.mislabelled is not None:
        return examined(folder, regression.name, make_candidate(folder, base, regression.mislabelled))
    net = Net(schema, load_recipe(CONFIG / "recipes" / "turn.yaml", schema))
    net.load_state_dict(load_file(folder / f"good-{base}.safetensors"))
    net.eval()
    if regression.change is not None:
        regression.change(net, schema, test_set())
    return examined(folder, regression.name, net)


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    """Run everything, print one line per model, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--good", type=int, default=20, help="good candidates")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scenes", type=int, help="scenes of the robustness gate, instead of those that are shipped")
    parser.add_argument("--vehicles", type=int, help="vehicles that drive, instead of those that are shipped")
    parser.add_argument("--draw", type=Path, help="only draw the outcomes of the last run into this file")
    given = parser.parse_args()
    if given.draw is not None:
        draw(OUTCOMES, given.draw)
        return
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        folder = Path(name)
        plan = yaml.safe_load((CONFIG / "examination.yaml").read_text())
        plan["robustness"]["scenes"] = given.scenes or plan["robustness"]["scenes"]
        plan["closed_loop"]["vehicles"] = given.vehicles or plan["closed_loop"]["vehicles"]
        (folder / "examination.yaml").write_text(yaml.safe_dump(plan))
        say("training the parent")
        pool.submit(make_parent, folder).result()
        say("training and examining good candidates")
        candidates: list[Outcome] = []
        for done in as_completed([pool.submit(good, folder, seed) for seed in range(1, given.good + 1)]):
            candidates.append(done.result())
            say(_line(candidates[-1], None))
        base = next((int(each.name.partition("-")[2]) for each in candidates if each.passed), 1)
        say(f"the regressions are planted in good-{base}")
        found: list[tuple[Regression, Outcome]] = []
        running = {pool.submit(partial(planted, folder, n, base)): each for n, each in enumerate(REGRESSIONS)}
        for done in as_completed(running):
            found.append((running[done], done.result()))
            say(_line(found[-1][1], running[done]))
    caught = [regression for regression, outcome in found if regression.gate in outcome.refused_by]
    refused = [regression for regression, outcome in found if not outcome.passed]
    passed = sum(each.passed for each in candidates)
    print(
        f"planted: {len(refused)} of {len(found)} refused, {len(caught)} by the gate that should; "
        f"good: {len(candidates) - passed} of {len(candidates)} refused"
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known.setdefault("gates", {}).update(
        planted=len(found),
        planted_refused=len(refused),
        planted_refused_by_its_gate=len(caught),
        good=len(candidates),
        good_refused=len(candidates) - passed,
    )
    RESULTS.write_text(json.dumps(known, indent=1))
    seen = [(each.name, each.gate, outcome.refused_by) for each, outcome in found]
    OUTCOMES.write_text(json.dumps([*seen, *((each.name, "", each.refused_by) for each in candidates)], indent=1))


def draw(outcomes: Path, picture: Path) -> None:
    """Draw which gates refused which model, the gate that should with a frame."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    rows = json.loads(outcomes.read_text())
    planted_rows = [row for row in rows if row[1]]
    good_rows = [row for row in rows if not row[1]]
    names = [*(name for name, _, _ in planted_rows), f"{len(good_rows)} good candidates"]
    shares = [[float(gate in by) for gate in GATES] for _, _, by in planted_rows]
    shares.append([sum(gate in by for _, _, by in good_rows) / max(1, len(good_rows)) for gate in GATES])
    figure, axis = pyplot.subplots(figsize=(8, 0.32 * len(names) + 1.2))
    axis.imshow(shares, cmap="Reds", vmin=0, vmax=1.3, aspect="auto")
    for number, (_, wanted, _) in enumerate(planted_rows):
        box = Rectangle((GATES.index(wanted) - 0.5, number - 0.5), 1, 1, fill=False, edgecolor="black", lw=1.6)
        axis.add_patch(box)
    for number in range(len(GATES)):
        axis.text(number, len(names) - 1, f"{round(shares[-1][number] * len(good_rows))}", ha="center", va="center")
    axis.set_xticks(range(len(GATES)), [gate.replace("_", " ") for gate in GATES])
    axis.set_yticks(range(len(names)), names)
    axis.set_title("Refused by (frame: the gate that should)", fontsize=10)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def _line(outcome: Outcome, regression: Regression | None) -> str:
    by = ", ".join(outcome.refused_by) or "no gate"
    wanted = "" if regression is None else f" (should: {regression.gate})"
    why = "; ".join(each.reasons[0] for each in outcome.gates if not each.passed)
    return f"{outcome.name}: refused by {by}{wanted}, {outcome.seconds:.0f} s {why}"


if __name__ == "__main__":
    main()
