"""Whether false labels grow when a net that invents signs labels its own data by the halts of the autopilot.

Five turns of the loop with a small net that the product's own training code trains in each turn. Posters that look a
little like signs are planted; the net has seen few of them, and only paler ones. Where it sees a sign, the autopilot
halts, and each halt is a moment that is to be labelled. Hindsight votes, people check and label, the curator bounds
each vehicle's share, and the next net is trained on the result: guarded by today's rules, and unguarded as before,
when hindsight believed any halt.

The product's functions: hindsight (`vote_by_clip`), the choice of what people check and what votes decide (`check_of`
and `decide`), the bound on a vehicle's share (`within_share`), training and inference (`perception`). Simulated:
pictures, drives, vehicles, people and maps, with the rates below. Left out: examination and rollout, so that every
net drives; near duplicates, because the pictures are noise with one square.

`python -m tests.bench.self_confirming` runs it by itself; `make bench ARGS=gates` runs it too.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tests.unit.perception.nets import RECIPE, SCHEMA

from dataset_curator.core import ShareBound, within_share
from fleetloop.domain.clips import Drive, DriveInfo, DriveSignal
from fleetloop.domain.tasks import load_task_schema
from fleetloop.shipped import config_folder
from label_desk import hindsight
from label_desk.core import Audits, CheckPolicy, check_of, decide
from label_desk.model import Check, Source, Vote
from perception.data import Samples
from perception.inference import predict
from perception.train import train

SEEDS, TURNS = 5, 5
VEHICLES, SITUATIONS = 20, 400
SHARES = {"sign": 0.4, "poster": 0.4, "plain": 0.2}
"""Of the situations of a turn."""
PERSON_DRIVES = 0.3
BRAKES_FOR_ELSE = 0.02
"""Probability that a person who drives halts where no sign is."""
MAPPED, WRONGLY_MAPPED = 0.9, 0.005
"""Shares of signs, and of other places, at which the map has a sign."""
PERSON_ERRS = 0.03
PEOPLES_TASKS = 30
"""Tasks that people answer in a turn, about an eighth of all; further ones wait, and are not committed here."""
FIRST_POSTERS, FIRST_REDNESS, REDNESS = 15, 0.7, 0.85
"""Posters in the imported set, how red they are at most, and how red posters on the road are at most."""
AGREEMENT, AUTOMATIC_BOUND, CHECKS = 2, 0.9, CheckPolicy(0.1, 0.9, 1)
"""As shipped (label_desk/settings.py, config/routing.yaml)."""
SHARE = ShareBound(0.2, 500)
CLEAR = hindsight.CLEAR
_TIMES = np.arange(0, 10 * 10**9, 5 * 10**8).astype(np.int64)
_MOMENT_NS, _HALT_TICK = 4 * 10**9, 15
_TASKS = load_task_schema(config_folder() / "tasks.yaml")
Answer = int | float | str | list[str]
RESULTS = Path(".fleetloop/bench/results.json")


@dataclass(frozen=True, slots=True)
class Situation:
    """What a vehicle meets: a scene, who drives, and what the map says."""

    vehicle_id: str
    is_sign: bool
    frames: NDArray[np.uint8]
    """[3, T, C, H, W, 3]: at the moment, and twice later."""
    person_drives: bool
    person_halts: bool
    mapped: bool


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled situation."""

    vehicle_id: str
    frames: NDArray[np.uint8]
    """[T, C, H, W, 3]"""
    says_sign: bool
    is_sign: bool


@dataclass
class Desk:
    """What people found so far, and the desk's random numbers."""

    rng: np.random.Generator
    guarded: bool
    of_source: list[bool] = field(default_factory=list)
    of_vehicle: dict[str, list[bool]] = field(default_factory=dict)
    by: Counter[str] = field(default_factory=Counter)

    def label(self, vote: Vote | None, situation: Situation, people_left: int) -> str:
        """The agreed choice, or an empty text when the task waits for people who have no time."""
        check = Check.NONE
        vehicle = self.of_vehicle.setdefault(situation.vehicle_id, [])
        if vote is not None and self.guarded:
            of_source, of_vehicle = _audits(self.of_source[-200:]), _audits(vehicle[-50:])
            check = check_of(vote, self.rng.random(), of_source, of_vehicle, CHECKS)
        votes = [vote] if vote is not None else []
        bound = AUTOMATIC_BOUND if check is Check.NONE else math.inf
        decision = decide(votes, AGREEMENT, bound)
        if decision is None and people_left <= 0:
            return ""
        while decision is None:
            says = situation.is_sign != (self.rng.random() < PERSON_ERRS)
            author = f"person {len(votes)}"
            votes.append(Vote(author, Source.HUMAN, {"stop_sign": "plain" if says else "none"}, 1.0, len(votes)))
            decision = decide(votes, AGREEMENT, bound)
        choice = decision.answers.get("stop_sign", "")
        self.by[decision.source.value] += 1
        if vote is not None and check is not Check.NONE and choice:
            agreed = (vote.answers["stop_sign"] != "none") == (choice != "none")
            vehicle.append(agreed)
            if check is Check.OF_SOURCE:
                self.of_source.append(agreed)
        return choice


def _audits(kept: list[bool]) -> Audits:
    return Audits(sum(kept), len(kept))


def scene(redness: float, rng: np.random.Generator, looks: int = 1) -> NDArray[np.uint8]:
    """[looks, T, C, H, W, 3]: noise with one square ahead, 0 for none; 1 is as red as a sign can be."""
    frames = rng.integers(90, 130, (looks, 2, 2, 16, 16, 3)).astype(np.uint8)
    x, y = rng.integers(0, 12, 2)
    if redness > 0:
        colour = 110 + redness * (np.array([230, 20, 20]) - 110)
        frames[:, :, 0, y : y + 4, x : x + 4] = colour.astype(np.uint8)
    return frames


def redness_of(kind: str, rng: np.random.Generator, highest_poster: float = REDNESS) -> float:
    """How red the square of a scene is."""
    if kind == "sign":
        return float(rng.uniform(REDNESS, 1.0))
    return float(rng.uniform(0.2, highest_poster)) if kind == "poster" else 0.0


def first_samples(rng: np.random.Generator) -> list[Labelled]:
    """The imported set: correct labels, with paler posters than those on the road."""
    kinds = ["sign"] * 100 + ["plain"] * 60 + ["poster"] * FIRST_POSTERS
    made = [(kind, scene(redness_of(kind, rng, FIRST_REDNESS), rng)[0]) for kind in kinds]
    return [Labelled("", frames, kind == "sign", kind == "sign") for kind, frames in made]


def situations(rng: np.random.Generator) -> list[Situation]:
    """What the fleet meets in one turn."""
    found = []
    for kind in rng.choice(list(SHARES), SITUATIONS, p=list(SHARES.values())):
        is_sign = kind == "sign"
        person = rng.random() < PERSON_DRIVES
        halts = person and (is_sign or rng.random() < BRAKES_FOR_ELSE)
        mapped = rng.random() < (MAPPED if is_sign else WRONGLY_MAPPED)
        frames = scene(redness_of(kind, rng), rng, looks=3)
        found.append(Situation(f"car-{rng.integers(VEHICLES)}", is_sign, frames, person, halts, mapped))
    return found


def clip(situation: Situation, seen: NDArray[np.float64], halts: bool) -> Drive:
    """The clip of a situation, with what the net saw at the moment and later."""
    ticks = np.arange(len(_TIMES))
    sure = np.where(ticks <= 8, seen[0], np.where(ticks % 2, seen[1], seen[2]))
    speed = np.where(halts & (ticks >= _HALT_TICK), 1.0, 28.0)
    values = {
        "Perception.StopSign.IsSign": sure,
        "Perception.StopSign.Applies": sure,
        "Vehicle.Speed": speed,
        "Autopilot.Engaged": np.full(len(ticks), 0.0 if situation.person_drives else 1.0),
        "Map.FeatureDistance": np.full(len(ticks), 5.0),
    }
    signals = {name: DriveSignal(_TIMES, each.astype(np.float32), None, ()) for name, each in values.items()}
    code = np.full(len(ticks), int(situation.mapped), np.uint8)
    signals["Map.Feature"] = DriveSignal(_TIMES, code, None, ("none", "stop_sign"))
    return Drive(DriveInfo(situation.vehicle_id, "drive"), signals, {})


@contextmanager
def believing_any_halt() -> Iterator[None]:
    """Hindsight as it was before it needed a witness."""
    witness = hindsight._person_braked
    hindsight._person_braked = lambda drive, halt_ns: True
    try:
        yield
    finally:
        hindsight._person_braked = witness


def samples_of(rows: list[Labelled]) -> Samples:
    """The rows as the training code reads them; mined rows have a group."""
    yes: Mapping[str, Answer] = {"is_sign": 1, "applies": 1, "traits": [], "distance": 12.0}
    no: Mapping[str, Answer] = {"is_sign": 0, "traits": []}
    encoded = [SCHEMA.encode({"sign": yes if row.says_sign else no}) for row in rows]
    targets = {column: np.stack([each[column] for each in encoded]) for column in SCHEMA.columns()}
    groups = ["" if not r.vehicle_id else f"mined/{'sign' if r.says_sign else 'none'}" for r in rows]
    return Samples(np.stack([r.frames for r in rows]), targets, [""] * len(rows), groups)


class Net:
    """The net of each turn, trained from the one before by the product's code."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._weights, self._seed, self._turn = folder / "weights.safetensors", seed, 0

    def train(self, rows: list[Labelled]) -> None:
        """Train the next net on all rows."""
        first = self._turn == 0
        recipe = RECIPE.model_copy(
            update={"start": "scratch" if first else "parent", "steps": 200, "hard_fraction": 0.0 if first else 0.4}
        )
        parent = None if first else self._weights
        trained = train(samples_of(rows), SCHEMA, recipe, self._seed * 100 + self._turn, parent=parent)
        save_file(trained.net.state_dict(), self._weights)
        self._turn += 1
        self._net = trained.net

    def sees(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[n]: the probability of a sign that applies."""
        said = predict(self._net, frames, SCHEMA)
        return np.minimum(said["sign.is_sign"][:, 0], said["sign.applies"][:, 0]).astype(np.float64)


def one_turn(net: Net, rows: list[Labelled], desk: Desk, rng: np.random.Generator) -> list[Labelled]:
    """What the fleet's moments of one turn add to the dataset."""
    met = situations(rng)
    seen = net.sees(np.concatenate([each.frames for each in met])).reshape(len(met), 3)
    labelled, people_left = [], PEOPLES_TASKS
    for situation, sure in zip(met, seen, strict=True):
        halts = situation.person_halts if situation.person_drives else bool((sure[1:] >= 0.5).all())
        if not halts:  # the trigger fires when the car halts
            continue
        vote = hindsight.vote_by_clip(clip(situation, sure, halts), _TASKS, "stop_sign", _MOMENT_NS, 1)
        before = desk.by["human"]
        choice = desk.label(vote, situation, people_left)
        people_left -= desk.by["human"] - before
        if choice:
            said = choice != "none"
            labelled.append(Labelled(situation.vehicle_id, situation.frames[0], said, situation.is_sign))
    counts = Counter(row.vehicle_id for row in rows)
    return within_share(labelled, counts, SHARE if desk.guarded else ShareBound(1.0, 1))


@dataclass(frozen=True, slots=True)
class Course:
    """One course of five turns."""

    errors: list[float]
    """Share of false labels among the samples of each turn."""
    invents: list[float]
    """Share of posters in which the net of each turn sees a sign clearly, the last after the last turn."""
    by_hindsight: list[float]
    """Share of each turn's labels that hindsight decided."""


def course(seed: int, guarded: bool) -> Course:
    """Five turns, guarded or not, with the same world for the same seed."""
    rng, posters = np.random.default_rng((seed, 1)), np.random.default_rng((seed, 2))
    held_out = np.concatenate([scene(redness_of("poster", posters), posters) for _ in range(300)])
    rows = first_samples(rng)
    desk = Desk(np.random.default_rng((seed, 3)), guarded)
    errors, shares = [], []
    with tempfile.TemporaryDirectory() as folder:
        net = Net(Path(folder), seed)
        net.train(rows)
        invents = [float((net.sees(held_out) >= CLEAR).mean())]
        for _ in range(TURNS):
            desk.by.clear()
            added = one_turn(net, rows, desk, rng)
            errors.append(sum(each.says_sign != each.is_sign for each in added) / max(1, len(added)))
            shares.append(desk.by["hindsight"] / max(1, desk.by.total()))
            rows = [*rows, *added]
            net.train(rows)
            invents.append(float((net.sees(held_out) >= CLEAR).mean()))
    return Course(errors, invents, shares)


def growth_points(courses: list[Course]) -> float:
    """By how many percentage points the rate of false labels rises from the first turn to the last, on average."""
    return 100 * float(np.mean([each.errors[-1] - each.errors[0] for each in courses]))


def describe(name: str, courses: list[Course]) -> None:
    """Print the figures of some courses."""
    by_turn = ", ".join(f"{100 * share:.1f}" for share in np.mean([each.errors for each in courses], axis=0))
    rises = [100 * (each.errors[-1] - each.errors[0]) for each in courses]
    invents = 100 * np.mean([each.invents for each in courses], axis=0)
    by_hindsight = 100 * np.mean([each.by_hindsight for each in courses])
    print(f"{name}: false labels by turn, %: {by_turn};", end=" ")
    print(f"growth {growth_points(courses):+.2f} points ({min(rises):+.1f} to {max(rises):+.1f} by seed);", end=" ")
    print(f"{by_hindsight:.0f} % labelled by hindsight;", end=" ")
    print(f"the net invents a sign in {invents[0]:.0f} % of posters before, {invents[-1]:.0f} % after", flush=True)


def main() -> None:
    """Run both, print a table, and keep the figures."""
    torch.set_num_threads(1)
    found = {"guarded": [course(seed, guarded=True) for seed in range(SEEDS)]}
    describe("guarded", found["guarded"])
    with believing_any_halt():
        found["unguarded"] = [course(seed, guarded=False) for seed in range(SEEDS)]
    describe("unguarded", found["unguarded"])
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known.setdefault("gates", {}).update(
        false_label_growth_points=round(growth_points(found["guarded"]), 3),
        false_label_growth_points_unguarded=round(growth_points(found["unguarded"]), 3),
        false_labels_by_turn={
            name: [round(100 * float(np.mean([c.errors[turn] for c in courses])), 3) for turn in range(TURNS)]
            for name, courses in found.items()
        },
    )
    RESULTS.write_text(json.dumps(known, indent=1))


if __name__ == "__main__":
    main()
