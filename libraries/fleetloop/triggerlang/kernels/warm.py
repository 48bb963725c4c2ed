"""Compiles the kernels ahead of use, in about a minute: ``python -m fleetloop.triggerlang.kernels.warm``."""

from __future__ import annotations

import numpy as np

from fleetloop.domain.signals import parse_catalogue
from fleetloop.triggerlang.lowering import lower
from fleetloop.triggerlang.machine import Machine, Rules
from fleetloop.triggerlang.program import Condition, compile_program
from fleetloop.triggerlang.reading import Reader


def warm() -> None:
    """Runs an empty program on no batches, which compiles everything for the types that are used later."""
    catalogue = parse_catalogue("signals: {X: {type: float32}}")
    lowered = lower(compile_program([Condition("warm", "X > 1", {})], catalogue, 1.0), catalogue)
    none = np.zeros(1, np.int64)
    rules = Rules(np.zeros(1, np.bool_), np.zeros(1, np.bool_), none + 1, none, none, 1)
    batches = Reader(lowered, catalogue).read([])
    Machine(lowered, rules).run(batches, np.zeros(0, np.int64), [])


if __name__ == "__main__":
    warm()
