"""The labellers' script: agreement on most tasks, and some of each other outcome."""

from __future__ import annotations

from collections import Counter

from tests.chaos.labellers import LABELLERS, scripted_answer, scripted_outcome

CHOICES = ["plain", "held", "none", "placard"]


def test_tasks_are_agreed_undecided_or_disputed_by_their_id_only() -> None:
    kinds: Counter[str] = Counter()
    for number in range(1000):
        answers = [scripted_answer(f"task-{number}", "stop_sign", CHOICES, each) for each in range(LABELLERS)]
        assert answers == [scripted_answer(f"task-{number}", "stop_sign", CHOICES, each) for each in range(LABELLERS)]
        different = {tuple(each.items()) for each in answers}
        kind = "cannot_tell" if different == {()} else "agreed" if len(different) == 1 else "disputed"
        assert kind == scripted_outcome(f"task-{number}")
        kinds[kind] += 1
        assert len(different) in (1, LABELLERS)
    assert kinds["agreed"] > 700 and kinds["cannot_tell"] > 50 and kinds["disputed"] > 50
