"""The targets of `make fuzz` accept their examples, and refuse damaged ones only by their own kinds of error."""

from __future__ import annotations

import random

import pytest
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_examples_of_a_target_are_accepted(name: str) -> None:
    for example in TARGETS[name].examples():
        TARGETS[name].read(example)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_examples_are_refused_by_a_typed_error(name: str) -> None:
    target, rng = TARGETS[name], random.Random(name)
    for _ in range(60):
        data = bytearray(rng.choice(list(target.examples())))
        for _ in range(rng.randint(1, 4)):
            position = rng.randrange(len(data) + 1)
            how = rng.random()
            if how < 0.4 and position < len(data):
                data[position] = rng.randrange(256)
            elif how < 0.7:
                data[position:position] = rng.randbytes(rng.randint(1, 8))
            else:
                del data[position : position + rng.randint(1, 8)]
        try:
            target.read(bytes(data))
        except target.refusals as refusal:
            assert str(refusal)
