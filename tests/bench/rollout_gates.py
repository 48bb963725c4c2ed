"""How often rollouts decide wrongly, and how far a bad candidate drives until it is caught, beside Wald's bound.

Thousands of rollouts of a fleet of 200 are simulated with the shipped plan. Interventions are Poisson events, and the
evidence is looked at after each comparison, about a hundred times as often as a decision takes. The figures go to
.fleetloop/bench/results.json under `gates`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.bench import self_confirming
from tests.simulated_rollouts import LIES, Simulated

from fleetloop.domain.sequential import compare_decisions, event_weight, needed, sum_of, tolerated_of
from fleetloop.shipped import config_folder
from rollout_controller.model import RolloutPlan
from rollout_controller.settings import load_plan

RUNS, CHUNK = 10_000, 1_000
VEHICLES, SHARE = 200, 0.25
LOOKS = 40
"""Comparisons in the distance that Wald's bound gives."""
LONGEST = 30
"""A rollout that is not decided after so many times that distance counts as undecided."""
RESULTS = Path(".fleetloop/bench/results.json")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of the simulated rollouts, and the distance of canaries."""

    rolled_back: float
    taken_off: float
    """Taken off the road at least once, for good or to be tried again without some vehicles."""
    released: float
    undecided: float
    km_until_off: float
    """Mean distance until then, km, of those that were taken off."""
    km_until_released: float


def simulate(rate_per_km: float, ratio: float, plan: RolloutPlan, seed: int, runs: int = RUNS) -> Outcome:
    """Simulate rollouts of a candidate whose interventions are `ratio` times as frequent as the released model's."""
    parts = [_chunk(rate_per_km, ratio, plan, np.random.default_rng((seed, n)), CHUNK) for n in range(runs // CHUNK)]
    state, off_km, released_km = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Outcome(
        rolled_back=float((state == "rolled_back").mean()),
        taken_off=float(np.isfinite(off_km).mean()),
        released=float((state == "released").mean()),
        undecided=float((state == "open").mean()),
        km_until_off=float(off_km[np.isfinite(off_km)].mean()) if np.isfinite(off_km).any() else math.nan,
        km_until_released=float(released_km[state == "released"].mean()) if (state == "released").any() else math.nan,
    )


def _chunk(
    rate_per_km: float, ratio: float, plan: RolloutPlan, rng: np.random.Generator, runs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    canaries = round(VEHICLES * SHARE)
    others = VEHICLES - canaries
    tolerated = tolerated_of(VEHICLES, plan.lying_share)
    km = wald_bound(rate_per_km, plan) / LOOKS / canaries  # of each vehicle between two comparisons
    more = math.log(plan.worse_ratio)
    exact = event_weight(canaries * km, others * km, plan.worse_ratio)
    against = event_weight(canaries * km, (others - tolerated) * km, plan.worse_ratio)
    in_favour = event_weight((canaries - tolerated) * km, others * km, plan.worse_ratio)
    off, enough = needed(plan.false_rollback), needed(plan.false_release)
    own = np.zeros((runs, canaries), np.int32)
    other = np.zeros((runs, others), np.int32)
    state = np.full(runs, "open", dtype="U12")
    tries = np.ones(runs, np.int32)
    off_km, released_km = np.full(runs, np.inf), np.full(runs, np.inf)
    for look in range(1, LOOKS * LONGEST + 1):
        active = np.flatnonzero(state == "open")
        if not len(active):
            break
        own[active] += rng.poisson(rate_per_km * ratio * km, (len(active), canaries)).astype(np.int32)
        other[active] += rng.poisson(rate_per_km * km, (len(active), others)).astype(np.int32)
        mine, theirs = own[active], other[active]
        most = np.partition(mine, canaries - tolerated, 1)[:, canaries - tolerated :].sum(1)
        most_other = np.partition(theirs, others - tolerated, 1)[:, others - tolerated :].sum(1)
        n, m = mine.sum(1), theirs.sum(1)
        guarded = (n - most) * (against + more) + m * against
        favour = -(n * (in_favour + more) + (m - most_other) * in_favour)
        unguarded = n * (exact + more) + m * exact
        driven_km = look * km * canaries
        bad = guarded >= off
        good = ~bad & (favour >= enough)
        doubted = ~bad & ~good & (unguarded >= off)
        last = doubted & (tries[active] > plan.extensions)
        for index in active[(bad | doubted)]:
            off_km[index] = min(off_km[index], driven_km)
        state[active[bad | last]] = "rolled_back"
        state[active[good]] = "released"
        released_km[active[good]] = driven_km
        again = active[doubted & ~last]
        tries[again] += 1
        own[again], other[again] = 0, 0
    return state, off_km, released_km


def wald_bound(rate_per_km: float, plan: RolloutPlan) -> float:
    """The mean distance, km, until a candidate is caught that is `worse_ratio` times as bad: no test of these errors
    needs less.
    """
    alpha, beta = plan.false_rollback, plan.false_release
    evidence = (1 - beta) * math.log((1 - beta) / alpha) + beta * math.log(beta / (1 - alpha))
    weight = event_weight(SHARE, 1 - SHARE, plan.worse_ratio)
    per_km = rate_per_km * (plan.worse_ratio * (weight + math.log(plan.worse_ratio)) + (1 - SHARE) / SHARE * weight)
    return evidence / per_km


def caught_in_shadow(kind: str, plan: RolloutPlan, runs: int = 100, vehicles: int = 50) -> int:
    """How many of so many mute or hallucinating candidates are rolled back in shadow, and never sent on.

    Each vehicle meets twenty situations: in half of them a stop is needed, the released model is wrong in 5 % of all.
    """
    caught = 0
    tolerated = tolerated_of(4 * vehicles, plan.lying_share)
    for seed in range(runs):
        rng = np.random.default_rng((seed, 7))
        counts = np.zeros((vehicles, 3), int)  # better, worse, equal
        for _ in range(20):
            needed_stop = rng.random(vehicles) < 0.5
            released_right = rng.random(vehicles) >= 0.05
            candidate_right = ~needed_stop if kind == "mute" else needed_stop
            happens = needed_stop | ~released_right | (kind == "hallucinating")  # else neither requests a stop
            counts[:, 0] += happens & candidate_right & ~released_right
            counts[:, 1] += happens & ~candidate_right & released_right
            counts[:, 2] += happens & (candidate_right == released_right)
            scores = [compare_decisions(int(b), int(w), int(e), plan.shadow_margin) for b, w, e in counts]
            if sum_of((each.in_favour for each in scores), tolerated) >= needed(plan.false_release):
                break
            if sum_of((each.against for each in scores), tolerated) >= needed(plan.false_rollback):
                caught += 1
                break
    return caught


def lying_share() -> tuple[float, dict[str, tuple[int, int, int]]]:
    """The largest share of liars that turned no verdict, and by share: verdicts turned, held up, and all."""
    found: dict[str, tuple[int, int, int]] = {}
    largest = 0.0
    for percent in (1, 3, 5):
        turned = held_up = total = 0
        for ratio in (0.5, 1.0, 4.0):
            for seed in range(4):
                fleet = Simulated(ratio, seed)
                for begin, step in ((0, 4), (1, 4), (0, 1)):  # canaries, control vehicles, and both
                    liars = range(begin, begin + step * percent, step)
                    for lie in LIES.values():
                        lies = dict.fromkeys(liars, lie)
                        verdict, honest = fleet.verdict(lies), fleet.verdict(lies, without_them=True)
                        turned += verdict not in (honest, None)
                        held_up += verdict is None and honest is not None
                        total += 1
        found[f"{percent} %"] = (turned, held_up, total)
        if not turned:
            largest = percent / 100
    return largest, found


def main() -> None:
    """Run everything and print one table."""
    plan = load_plan(config_folder() / "rollout.yaml")
    rows = []
    for seed, rate in enumerate((0.35, 0.05, 0.01)):
        equal, bad = simulate(rate, 1.0, plan, 2 * seed), simulate(rate, plan.worse_ratio, plan, 2 * seed + 1)
        rows.append((rate, equal, bad, bad.km_until_off / wald_bound(rate, plan)))
        print(
            f"{100 * rate:4.0f} per 100 km | equal: rolled back {equal.rolled_back:.2%}, ever off the road "
            f"{equal.taken_off:.2%}, released {equal.released:.1%} after {equal.km_until_released:.0f} km, undecided "
            f"{equal.undecided:.1%} | {plan.worse_ratio:g} times as bad: released {bad.released:.2%}, off the road "
            f"{bad.taken_off:.1%} after {bad.km_until_off:.0f} km, {rows[-1][3]:.2f} times Wald's bound",
            flush=True,
        )
    mute, hallucinating = (caught_in_shadow(kind, plan) for kind in ("mute", "hallucinating"))
    print(f"caught in shadow: mute {mute}, hallucinating {hallucinating} of 100", flush=True)
    share, lies = lying_share()
    for name, (turned, held_up, total) in lies.items():
        print(f"{name} of the vehicles lie: {turned} verdicts turned, {held_up} held up, of {total}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known.setdefault("gates", {}).update(
        equal_rolled_back=max(equal.rolled_back for _, equal, _, _ in rows),
        twice_as_bad_released=max(bad.released for _, _, bad, _ in rows),
        km_over_wald=max(ratio for *_, ratio in rows),
        mute_caught=mute,
        hallucinating_caught=hallucinating,
        of=100,
        lying_share_tolerated=share,
    )
    RESULTS.write_text(json.dumps(known, indent=1))
    self_confirming.main()


if __name__ == "__main__":
    main()
