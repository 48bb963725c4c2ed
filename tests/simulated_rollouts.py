"""A simulated fleet in a canary stage, some of whose vehicles lie, judged by the controller's own functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fleetloop.domain.sequential import Score, sum_of, tolerated_of
from rollout_controller.core import next_move
from rollout_controller.evidence import OfVehicle, Stretch, outliers_of, scores_of
from rollout_controller.model import Cohort, Evidence, Position, RolloutPlan, Stage

PLAN = RolloutPlan(
    shadow_percent=25, shadow_margin=0.1, canary_percents=(25,), worse_ratio=2.0, false_rollback=0.01,
    false_release=0.05, inference_p99_ms=100, stage_max_s=3600, conditions=("day", "night"),
)  # fmt: skip
TURNS = 150


class Simulated:
    """A hundred vehicles in a canary stage, compared each time that all of them have driven one km."""

    def __init__(self, ratio: float, seed: int, vehicles: int = 100) -> None:
        self.cohorts = [Cohort.CANARY if n % 4 == 0 else Cohort.CONTROL for n in range(vehicles)]
        rates = [0.35 * (ratio if cohort is Cohort.CANARY else 1.0) for cohort in self.cohorts]
        self.events = np.random.default_rng(seed).poisson(rates, (TURNS, vehicles))

    def verdict(self, liars: Mapping[int, tuple[float, int]], *, without_them: bool = False) -> Stage | None:
        """The first decision; None for none. Liars report the same km and interventions in each turn."""
        names = [n for n in range(len(self.cohorts)) if not (without_them and n in liars)]
        turn, tries = 0, 1
        while True:
            tolerated = 0 if without_them else tolerated_of(len(names), PLAN.lying_share)
            sums = dict.fromkeys(names, Score())
            driven = {n: OfVehicle(str(n), 0.0, 0) for n in names}
            move = None
            while move is None or move.stays:
                if turn == TURNS:
                    return None
                stretches = []
                for n in names:
                    km, events = liars.get(n, (1.0, int(self.events[turn, n])))
                    driven[n] = OfVehicle(str(n), driven[n].km + km, driven[n].interventions + events)
                    stretches.append(Stretch(self.cohorts[n], km, events))
                for n, score in zip(names, scores_of(stretches, PLAN, tolerated), strict=True):
                    sums[n] += score
                turn += 1
                move = next_move(
                    Position(Stage.CANARY, 25, 0), PLAN, self._evidence(sums, driven, tolerated), tries=tries
                )
            if not move.without:
                return move.stage
            names, tries = [n for n in names if str(n) not in move.without], tries + 1

    def _evidence(self, sums: Mapping[int, Score], driven: Mapping[int, OfVehicle], tolerated: int) -> Evidence:
        outliers = {
            name
            for cohort in (Cohort.CANARY, Cohort.CONTROL)
            for name in self._outliers([each for n, each in driven.items() if self.cohorts[n] is cohort], tolerated)
        }
        left = {n: score for n, score in sums.items() if str(n) not in outliers}
        left_out = tolerated - len(outliers)
        most = sorted(left, key=lambda n: left[n].unguarded, reverse=True)[:tolerated]
        return Evidence(
            score=Score(
                sum_of((each.against for each in left.values()), left_out),
                sum_of((each.in_favour for each in left.values()), left_out),
                sum_of(each.unguarded for each in left.values()),
            ),
            tolerated=tolerated,
            suspects=tuple(str(n) for n in most if left[n].unguarded > 0),
        )

    @staticmethod
    def _outliers(driven: Sequence[OfVehicle], tolerated: int) -> list[str]:
        km, events = sum(each.km for each in driven), sum(each.interventions for each in driven)
        return outliers_of(driven, km, events, tolerated)


LIES = {
    "screams": (1.0, 60),
    "drives far and without interventions": (3.0, 0),
    "drives far and screams": (3.0, 60),
    "says nothing": (0.0, 0),
    "hardly drives and intervenes": (0.01, 1),
    "intervenes six times as often": (1.0, 2),
    "intervenes three times as often": (1.0, 1),
}
