"""What the commands print about rollouts, as a newcomer reads it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fleetloop.api.models import rollout_named, rollout_state
from fleetloop.commands.rollout_screens import facts_table, rollout_facts, rollouts_table, stop_text
from fleetloop.errors import UserError
from fleetloop.protos.rollout.v1 import rollout_pb2

S = 10**9
DIGEST = "c" * 64
OPEN = rollout_pb2.Rollout(
    rollout_id="3fa85f6457174562b3fc2c963f66afa6",
    model_digest=DIGEST,
    state=rollout_pb2.ROLLOUT_STATE_RUNNING,
    stage=rollout_pb2.MODEL_STAGE_CANARY,
    canary_percent=25,
    vehicles=[f"car-{number}" for number in range(12)],
    attested=11,
    silent_vehicles=2,
    stage_began_at_utc_ns=1_790_000_000 * S,
    running_s=5400,
    tries=2,
    paused_by="user/ann",
    pause_reason="heavy snow",
    possible=["resume", "roll back", "abort"],
    reasons=["paused by user/ann: heavy snow", "canary 1 intervention"],
    evidence=rollout_pb2.Evidence(
        in_favour=1.5, in_favour_needed=3.0, against=-1.0, against_needed=4.6, tolerated_vehicles=1, decisions=1200,
        would_have_missed=3, refused_reports={"too_long": 2, "above_share": 40},
        canary=rollout_pb2.CohortEvidence(vehicles=12, km=200.0, interventions=3, slow_vehicles=1),
        control=rollout_pb2.CohortEvidence(vehicles=30, km=1000.0, interventions=20),
    ),
)  # fmt: skip
ENDED = rollout_pb2.Rollout(
    rollout_id="3fb0",
    model_digest="d" * 64,
    state=rollout_pb2.ROLLOUT_STATE_ROLLED_BACK,
    reasons=["by user/ann: odd"],
)
NAMES = {DIGEST: "model-3", "d" * 64: "model-2"}


def printed(content: object, width: int = 120) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(content)
    return console.export_text()


def test_the_list_says_state_and_evidence_of_each_rollout() -> None:
    text = printed(rollouts_table([OPEN, ENDED], NAMES))
    assert "canary 25 %, paused" in text and "50% for, 0% against" in text
    assert "rolled back" in text and "by user/ann: odd" in text and "model-2" in text


def test_one_rollout_shows_all_that_is_known_of_it() -> None:
    answer = rollout_pb2.GetRolloutResponse(
        rollout=OPEN, stage_max_s=3600, extensions_used=1, extensions=2, forecast="needs about 300 km"
    )
    facts = dict(rollout_facts(answer, NAMES))
    assert facts["paused"] == "by ann: heavy snow"
    assert facts["time"] == "90 min of 60 min in which vehicles reported; extended 1 of 2 times"
    assert facts["vehicles"].endswith(
        "and 2 more\n2 others have not reported recently; the rollout does not wait for them"
    )
    assert facts["in favour"] == "##########.......... 50% of what the next stage needs"
    assert facts["against"].endswith(" 0% of what a rollback needs")
    assert facts["canaries"] == "12 vehicles, 200.0 km, 3 interventions, 1.5 per 100 km; 1 too slow"
    assert facts["refused reports"] == "40 above share\n2 too long"
    assert facts["possible"] == "resume, roll back, abort"
    assert "needs about 300 km" in printed(facts_table(rollout_facts(answer, NAMES)))


def test_an_ended_rollout_has_neither_time_nor_forecast() -> None:
    facts = dict(rollout_facts(rollout_pb2.GetRolloutResponse(rollout=ENDED), NAMES))
    assert "time" not in facts and "forecast" not in facts and facts["possible"] == "nothing"


def test_a_stop_is_said_with_its_remedy() -> None:
    assert stop_text(rollout_pb2.RolloutStop()) == ""
    text = stop_text(rollout_pb2.RolloutStop(stopped_by="user/ann", reason="recall", stopped_at_utc_ns=S))
    assert text.startswith("ALL ROLLOUTS ARE STOPPED by ann") and "resume --all" in text


def test_states_are_words() -> None:
    assert rollout_state(OPEN) == "canary 25 %, paused"
    assert rollout_state(ENDED) == "rolled back"
    shadow = rollout_pb2.Rollout(state=rollout_pb2.ROLLOUT_STATE_RUNNING, stage=rollout_pb2.MODEL_STAGE_SHADOWING)
    assert rollout_state(shadow) == "in shadow"
    assert rollout_state(rollout_pb2.Rollout(state=rollout_pb2.ROLLOUT_STATE_COMPLETED)) == "released"


@pytest.mark.parametrize("text", ["model-3", "3fa", OPEN.rollout_id])
def test_a_rollout_is_named_by_its_id_the_start_of_it_or_its_model(text: str) -> None:
    assert rollout_named(text, [OPEN, ENDED], NAMES) == OPEN


@pytest.mark.parametrize(
    ("text", "problem"), [("3f", "2 rollouts begin with '3f'"), ("x", "There is no rollout 'x'")]
)
def test_a_name_of_none_or_of_several_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        rollout_named(text, [OPEN, ENDED], NAMES)
