from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataset_curator.core import CommitPolicy, LikenessBounds, plan_commit
from dataset_curator.model import Neighbour, Plan, RefusalReason, Sample
from fleetloop.domain.dataset_digest import content_digest

BOUNDS = LikenessBounds(near_duplicate=0.99, test_set=0.98)


def sample(name: str, angle: float = 0.0, choice: str = "plain", digest: str = "") -> Sample:
    return Sample(
        sample_id=name,
        task="stop_sign",
        choice=choice,
        answers={"stop_sign": {"is_sign": int(choice == "plain")}},
        frames=np.zeros((1, 1, 2, 2, 3), np.uint8),
        content_sha256=digest or name,
        embedding=np.array([np.cos(angle), np.sin(angle)], np.float32),
        trunk="t",
    )


def plan(
    candidates: Sequence[Sample],
    known: Collection[str] = (),
    test: Collection[str] = (),
    near: Sequence[Neighbour] = (),
) -> Plan:
    return plan_commit(candidates, known, test, lambda _: near, BOUNDS)


def test_the_same_pixels_join_once() -> None:
    result = plan([sample("a", digest="x"), sample("b", 1.0, digest="x"), sample("c", 2.0, digest="k")], known={"k"})
    assert [s.sample_id for s in result.admitted] == ["a"]
    assert result.refused == {"b": RefusalReason.EXACT_DUPLICATE, "c": RefusalReason.EXACT_DUPLICATE}


def test_almost_alike_with_the_same_answer_is_refused_and_with_another_kept() -> None:
    result = plan([sample("a"), sample("b", 0.01), sample("c", 0.01, choice="none")])
    assert [s.sample_id for s in result.admitted] == ["a", "c"]
    assert result.refused == {"b": RefusalReason.NEAR_DUPLICATE}


def test_what_looks_like_the_test_set_is_never_trained_on_whatever_its_answer() -> None:
    frozen = Neighbour("t", 0.985, same_answer=False, frozen=True)
    assert plan([sample("a")], near=[frozen]).refused == {"a": RefusalReason.IN_TEST_SET}
    assert plan([sample("a")], test={"a"}).refused == {"a": RefusalReason.IN_TEST_SET}
    kept = Neighbour("n", 0.985, same_answer=True, frozen=False)
    assert plan([sample("a")], near=[kept]).refused == {}


@given(st.lists(st.tuples(st.floats(0, 3.1), st.sampled_from(["plain", "none"])), max_size=25))
def test_no_two_that_joined_are_almost_alike(angles: list[tuple[float, str]]) -> None:
    candidates = [sample(str(i), angle, choice) for i, (angle, choice) in enumerate(angles)]
    result = plan(candidates)
    assert {s.sample_id for s in result.admitted} | set(result.refused) == {s.sample_id for s in candidates}
    for i, one in enumerate(result.admitted):
        for other in result.admitted[:i]:
            alike = float(one.embedding @ other.embedding) >= BOUNDS.near_duplicate
            assert not (alike and one.answers == other.answers)


def test_a_digest_tells_shapes_apart() -> None:
    flat = np.arange(12, dtype=np.uint8)
    assert content_digest(flat.reshape(1, 1, 2, 2, 3)) != content_digest(flat.reshape(1, 1, 1, 4, 3))
    assert content_digest(flat.reshape(1, 1, 2, 2, 3)) == content_digest(flat.reshape(1, 1, 2, 2, 3).copy())


def test_a_commit_is_due_by_number_or_by_waiting() -> None:
    policy = CommitPolicy(samples=100, wait_s=60)
    assert policy.is_due(100, 0)
    assert policy.is_due(1, 60)
    assert not policy.is_due(99, 59)
    assert not policy.is_due(0, 1e9)
