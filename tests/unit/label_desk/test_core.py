from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.domain.tasks import load_task_schema
from label_desk.core import (
    EXTRA_VOTES_BEFORE_DISPUTE,
    AnswerError,
    Audits,
    CheckPolicy,
    check_answers,
    check_of,
    decide,
    may_ask,
    people_wanted,
)
from label_desk.model import Check, Lease, Outcome, Source, Vote

SCHEMA = load_task_schema(Path(__file__).parents[3] / "config" / "tasks.yaml")


def vote(
    author: str, choice: str | None, at: int = 0, source: Source = Source.HUMAN, confidence: float = 1.0
) -> Vote:
    return Vote(author, source, {"stop_sign": choice} if choice else {}, confidence, at)


def test_two_who_agree_end_a_task_that_wants_two() -> None:
    decision = decide([vote("a", "held"), vote("b", "plain"), vote("c", "held")], 2, 0.9)
    assert decision is not None
    assert (decision.outcome, decision.answers) == (Outcome.AGREED, {"stop_sign": "held"})
    assert decision.confidence == pytest.approx(2 / 3)


def test_one_answer_of_two_wanted_is_not_enough() -> None:
    assert decide([vote("a", "held")], 2, 0.9) is None


def test_the_last_answer_of_an_author_is_the_one_that_counts() -> None:
    votes = [vote("a", "held", at=1), vote("a", "plain", at=2), vote("b", "held", at=3)]
    assert decide(votes, 2, 0.9) is None


def test_who_cannot_tell_agree_on_that() -> None:
    decision = decide([vote("a", None), vote("b", None)], 2, 0.9)
    assert decision is not None and decision.outcome is Outcome.CANNOT_TELL


def test_people_who_never_agree_dispute() -> None:
    choices = ["plain", "held", "none", "placard"]
    decision = decide([vote(str(i), choice) for i, choice in enumerate(choices)], 2, 0.9)
    assert len(choices) == 2 + EXTRA_VOTES_BEFORE_DISPUTE
    assert decision is not None and decision.outcome is Outcome.DISPUTED


@pytest.mark.parametrize("agreement", [1, 2, 3])
def test_a_dispute_takes_two_answers_more_than_an_agreement(agreement: int) -> None:
    choices = [f"choice-{number}" for number in range(agreement + 2)]
    votes = [vote(str(number), choice) for number, choice in enumerate(choices)]
    if agreement > 1:  # one answer is an agreement
        assert decide(votes[:-1], agreement, 0.9) is None
        decision = decide(votes, agreement, 0.9)
        assert decision is not None and decision.outcome is Outcome.DISPUTED
    else:
        decision = decide(votes[:1], agreement, 0.9)
        assert decision is not None and decision.outcome is Outcome.AGREED


def test_more_who_agree_than_are_wanted_end_a_task_too() -> None:
    decision = decide([vote(author, "held") for author in "abcd"], 2, 0.9)
    assert decision is not None and (decision.outcome, decision.confidence) == (Outcome.AGREED, 1.0)


@pytest.mark.parametrize("source", [source for source in Source if source is not Source.HUMAN])
def test_every_automatic_source_can_decide_and_names_itself(source: Source) -> None:
    decision = decide([vote("automatic/1", "held", source=source, confidence=0.95)], 2, 0.9)
    assert decision is not None and decision.source is source


@pytest.mark.parametrize(("confidence", "decides"), [(0.95, True), (0.9, True), (0.89, False)])
def test_hindsight_decides_alone_only_when_it_is_sure(confidence: float, decides: bool) -> None:
    decision = decide([vote("hindsight/1", "occluded", source=Source.HINDSIGHT, confidence=confidence)], 2, 0.9)
    assert (decision is not None and decision.source is Source.HINDSIGHT) is decides


def test_people_outrank_hindsight() -> None:
    votes = [vote("hindsight/1", "occluded", source=Source.HINDSIGHT), vote("a", "none"), vote("b", "none")]
    decision = decide(votes, 2, 0.9)
    assert decision is not None and decision.answers == {"stop_sign": "none"}


def test_a_sure_automatic_vote_ends_nothing_once_a_person_has_answered() -> None:
    automatic = vote("hindsight/1", "held", source=Source.HINDSIGHT, confidence=0.99)
    assert decide([automatic, vote("ann", "plain")], 2, 0.9) is None


VOTES = st.lists(
    st.builds(vote, st.sampled_from("abcdef"), st.sampled_from(["plain", "held", None]), st.integers(0, 5)),
    max_size=10,
)


@given(VOTES, st.integers(1, 3), st.randoms())
def test_the_order_in_which_votes_are_read_does_not_matter(votes: list[Vote], agreement: int, random: object) -> None:
    unique = list({(v.author, v.at_utc_ns): v for v in votes}.values())
    shuffled = list(unique)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(unique, agreement, 0.9) == decide(shuffled, agreement, 0.9)


@given(VOTES, st.integers(1, 3), st.lists(st.tuples(st.sampled_from("ghij"), st.integers(0, 10)), max_size=4))
def test_nobody_is_asked_who_could_not_matter(
    votes: list[Vote], agreement: int, leases: list[tuple[str, int]]
) -> None:
    held = [Lease("l", author, expires) for author, expires in leases]
    left = people_wanted(votes, held, agreement, now_utc_ns=5)
    assert 0 <= left <= agreement
    assert may_ask("newcomer", votes, held, agreement, 5) is (left > 0)
    for author in {v.author for v in votes}:
        assert not may_ask(author, votes, held, agreement, 5)


def test_each_person_who_gave_the_leading_answer_leaves_one_fewer_to_ask() -> None:
    assert people_wanted([], [], 3, 0) == 3
    assert people_wanted([vote("a", "held")], [], 3, 0) == 2
    assert people_wanted([vote("a", "held"), vote("b", "held"), vote("c", "plain")], [], 3, 0) == 1
    assert people_wanted([vote("a", "held"), vote("b", "held"), vote("c", "held")], [], 3, 0) == 0


@pytest.mark.parametrize("source", [source for source in Source if source is not Source.HUMAN])
def test_an_automatic_answer_leaves_as_many_people_to_ask(source: Source) -> None:
    assert people_wanted([vote("automatic/1", "held", source=source)], [], 2, 0) == 2


def test_an_expired_lease_frees_its_place() -> None:
    lease = Lease("l", "a", expires_at_utc_ns=10)
    assert not may_ask("b", [], [lease], 1, now_utc_ns=9)
    assert may_ask("b", [], [lease], 1, now_utc_ns=10)


def test_answers_are_checked_against_the_schema() -> None:
    check_answers(SCHEMA, "stop_sign", {})
    check_answers(SCHEMA, "stop_sign", {"stop_sign": "held"})
    with pytest.raises(AnswerError, match=r"answers\[stop_sign\]: no such choice"):
        check_answers(SCHEMA, "stop_sign", {"stop_sign": "blue"})
    with pytest.raises(AnswerError, match="this task asks about stop_sign"):
        check_answers(SCHEMA, "stop_sign", {"traffic_light": "red"})
    with pytest.raises(AnswerError, match="this task asks about stop_sign"):
        check_answers(SCHEMA, "stop_sign", {"another": "plain"})


COUNTS = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda n: Audits(n[0], n[0] + n[1]))


@given(st.floats(0, 1, exclude_max=True), COUNTS, COUNTS, st.floats(0.01, 1), st.integers(0, 3))
def test_a_share_of_automatic_answers_is_checked_and_all_of_a_source_or_vehicle_that_is_wrong_too_often(
    chance: float, of_source: Audits, of_vehicle: Audits, share: float, first: int
) -> None:
    given = of_source, of_vehicle, CheckPolicy(share, 0.9, first)
    found = check_of(vote("hindsight/1", "held", source=Source.HINDSIGHT), chance, *given)
    if not of_vehicle.may_decide(0.9):
        assert found is Check.OF_VEHICLE, "what is known of one vehicle says nothing about the source"
    else:
        assert (found is Check.OF_SOURCE) is (
            chance < share or of_vehicle.checked < first or not of_source.may_decide(0.9)
        )
    assert check_of(vote("hindsight/1", None, source=Source.HINDSIGHT), chance, *given) is Check.NONE


def test_a_source_stops_only_on_evidence_and_may_come_back() -> None:
    assert Audits().may_decide(0.9), "nothing is known against it"
    assert Audits(0, 1).may_decide(0.5), "one wrong answer is no evidence"
    assert Audits(88, 100).may_decide(0.9)
    assert not Audits(10, 20).may_decide(0.9)
    assert Audits(195, 200).may_decide(0.9)
