"""What the fleet once got wrong must not get lost again, family by family."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perception.examination.cases import chosen_cases, examine_cases

ERROR = 0.005


@given(st.lists(st.sampled_from(["", "flicker/none", "brake/plain"]), max_size=60), st.integers(1, 10))
def test_the_newest_of_each_family_are_used(groups: list[str], most: int) -> None:
    rows = chosen_cases(groups, most).tolist()
    assert rows == sorted(set(rows))
    for family in ("flicker/none", "brake/plain"):
        there = [row for row, group in enumerate(groups) if group == family]
        assert [row for row in rows if groups[row] == family] == there[-most:]
    assert all(groups[row] for row in rows)


def test_a_lost_family_refuses_a_model_whatever_the_others_gain() -> None:
    families = ["brake/plain"] * 50 + ["flicker/none"] * 50
    before = {"sign": np.r_[np.ones(50), np.zeros(50)]}
    now = {"sign": np.r_[np.zeros(20), np.ones(30), np.ones(50)]}
    verdict = examine_cases(before, now, families, ERROR)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("sign lost cases of brake/plain: 50 to 30 of 50 right")
    assert examine_cases(before, before, families, ERROR).passed
    assert examine_cases(now, {"sign": np.ones(100)}, families, ERROR).passed


def test_a_family_of_a_few_cases_is_undecided() -> None:
    families = ["brake/plain"] * 50 + ["new/held"] * 3
    before, now = {"sign": np.ones(53)}, {"sign": np.r_[np.ones(50), np.zeros(3)]}
    verdict = examine_cases(before, now, families, ERROR)
    assert verdict.passed and [(each.slice, each.scenes) for each in verdict.undecided] == [("new/held", 3)]
    assert verdict.reasons[-1].startswith("Not decided for want of scenes: sign in new/held")


def test_a_dataset_without_cases_has_none_to_lose() -> None:
    assert examine_cases({}, {}, [], ERROR).passed
    assert chosen_cases(["", ""], 5).tolist() == []
