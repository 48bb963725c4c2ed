"""Which nemesis works when: a pure function of a seed, so that the same seed replays the same schedule."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Act:
    """One nemesis at work, with the seed of all its own decisions."""

    nemesis: str
    seed: int
    after_s: float = 0.0
    """Seconds after the beginning of its episode."""


@dataclass(frozen=True, slots=True)
class Episode:
    """Some acts under load, after which everything must be in order again. Most episodes have one act."""

    number: int
    acts: tuple[Act, ...]

    @property
    def name(self) -> str:
        """The nemesis, or `mixed` for several."""
        return self.acts[0].nemesis if len(self.acts) == 1 else "mixed"


def make_schedule(nemeses: Sequence[str], runs: int, seed: int, mixed: int = 0) -> list[Episode]:
    """Return the episodes of a run, in their order.

    Args:
        nemeses: Names of the nemeses.
        runs: Episodes of each nemesis.
        seed: Decides the order, the seed of each act, and what is mixed.
        mixed: Episodes with two or three different nemeses each, at the end.
    """
    rng = random.Random(seed)
    single = [Episode(0, (Act(name, rng.randrange(2**31)),)) for name in sorted(nemeses) for _ in range(runs)]
    rng.shuffle(single)
    together = []
    for _ in range(mixed if len(nemeses) > 1 else 0):
        chosen = rng.sample(sorted(nemeses), min(len(nemeses), rng.choice((2, 3))))
        acts = [Act(name, rng.randrange(2**31), round(rng.uniform(0, 4), 3)) for name in chosen]
        together.append(Episode(0, tuple(sorted(acts, key=lambda act: act.after_s))))
    return [Episode(number, each.acts) for number, each in enumerate([*single, *together])]
