from __future__ import annotations

import json
import random
from pathlib import Path

from fleetloop.demo.labellers import GroundTruth, answer
from fleetloop.protos.label.v1 import label_pb2

TASK = label_pb2.LabelTaskCreated(task="stop_sign")
CHOICES = ["plain", "held", "none"]
S = 10**9


def note(path: Path, utc_ns: int, choice: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write(json.dumps({"vehicle": "car", "utc_ns": utc_ns, "answers": {"stop_sign": choice}}) + end)


def test_labellers_are_wrong_as_often_as_told() -> None:
    chance = random.Random(1)
    given = [answer(TASK, CHOICES, {"stop_sign": "held"}, 0.05, chance)["stop_sign"] for _ in range(4000)]
    wrong = sum(choice != "held" for choice in given) / len(given)
    assert 0.04 < wrong < 0.06
    assert set(given) == set(CHOICES)


def test_who_knows_no_truth_cannot_tell() -> None:
    assert answer(TASK, CHOICES, None, 0.0, random.Random(1)) == {}
    assert answer(TASK, CHOICES, {"traffic_light": "red"}, 0.0, random.Random(1)) == {}


def test_the_ledger_says_what_held_at_a_moment_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    ledger = GroundTruth([path, tmp_path / "not-there-yet.jsonl"])
    note(path, 10 * S, "plain")
    note(path, 20 * S, "held")
    ledger.read_on()
    assert ledger.at("car", 9 * S) is None
    assert ledger.at("car", 15 * S) == {"stop_sign": "plain"}
    assert ledger.at("car", 20 * S) == {"stop_sign": "held"}
    assert ledger.at("other", 20 * S) is None
    note(path, 30 * S, "none", end="")  # half a line waits for its end
    ledger.read_on()
    assert ledger.at("car", 31 * S) == {"stop_sign": "held"}
    with path.open("a") as file:
        file.write("\n")
    ledger.read_on()
    assert ledger.at("car", 31 * S) == {"stop_sign": "none"}
