from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.domain.dataset_digest import DIGESTED, content_digest, dataset_digest

ROWS = st.lists(
    st.fixed_dictionaries({name: st.text(max_size=4) for name in DIGESTED}),
    max_size=5,
    unique_by=lambda row: row["sample_id"],
)


def key(rows: list[dict[str, str]]) -> set[tuple[str, ...]]:
    return {tuple(row[name] for name in DIGESTED) for row in rows}


@given(ROWS, ROWS)
def test_only_the_same_rows_have_the_same_digest(one: list[dict[str, str]], other: list[dict[str, str]]) -> None:
    assert (dataset_digest(one) == dataset_digest(other)) == (key(one) == key(other))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[dict[str, str]], rng: random.Random) -> None:
    mixed = [*rows]
    rng.shuffle(mixed)
    assert dataset_digest(mixed) == dataset_digest(rows)


def test_pixels_and_shape_count() -> None:
    frames = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    others = [frames.reshape(4, 2, 3), frames + 1, frames[:, ::-1]]
    assert len({content_digest(each) for each in (frames, *others)}) == 4
    assert content_digest(np.asfortranarray(frames)) == content_digest(frames)
