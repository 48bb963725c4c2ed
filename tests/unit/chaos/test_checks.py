"""Wrong histories are found: at each stage something lost, doubled, unseen and stuck."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.chaos.checks.driven import onsets
from tests.chaos.findings import Fault, Finding, compare
from tests.chaos.history import SUMMED, Drive, History, Planted
from tests.chaos.observed import Archived, DeadLetter, Ended, Fired, Observed, Routed
from tests.chaos.oracle import judge, late_or_lost


def in_archive(*ids: str) -> list[Archived]:
    return [Archived(each, "c") for each in ids]


def good() -> tuple[History, Observed]:
    """A history of two vehicles in which everything went well, and what the stages then hold."""
    history = History()
    for number in range(3):
        history.apply({"kind": "sent", "id": f"batch-{number}", "vehicle": "car", "content": "c"})
        history.apply({"kind": "acknowledged", "id": f"batch-{number}"})
    amounts = dict.fromkeys(SUMMED, 1.25)
    history.drives["batch-0"] = Drive("car", "boot", start_ns=0, step_ns=10, fast="010")
    history.apply({"kind": "report_sent", "id": "report-0", "amounts": amounts})
    history.apply({"kind": "report_acknowledged", "id": "report-0"})
    history.apply({"kind": "clip", "firing": "f1", "clip": "c1"})
    history.planted.append(Planted("mark", "no header", "fleet.trigger.v1", frozenset({"label-router"})))
    history.planted.append(Planted("at-door", "NaN", "", frozenset()))
    history.door["at-door"] = "BAD_VALUE"
    fired = [Fired("f1", "stop_sign_chaos", 1, "car", 10), Fired("f2", "chaos_unrouted", 1, "car", 20)]
    seen = Observed(
        archived=in_archive("batch-0", "batch-1", "batch-2"),
        computed=fired,
        fired=[*fired, fired[0]],
        routed=[Routed("f1", "routed", "t1"), Routed("f2", "dropped")],
        clips={"e1": "f1"},
        clip_of={"f1": "c1"},
        tasks={"t1": "f1"},
        ended=[Ended("end-1", "t1", "s1", "agreed"), Ended("end-1", "t1", "s1", "agreed")],
        added=["s1"],
        refused=frozenset(),
        sums={**{name: Fraction(5, 4) for name in SUMMED}, "reports": Fraction(1)},
        ledger={
            ("stop_sign_chaos", 1, "fired"): 1,
            ("chaos_unrouted", 1, "fired"): 1,
            ("stop_sign_chaos", 1, "clips"): 1,
            ("stop_sign_chaos", 1, "tasks"): 1,
            ("stop_sign_chaos", 1, "labelled"): 1,
            ("stop_sign_chaos", 1, "kept"): 1,
            ("stop_sign_chaos", 1, "clip_bytes"): 12345,
        },
        kept={("stop_sign_chaos", 1): 1},
        dead_letters=[DeadLetter("mark", "label-router", "fleet.trigger.v1/0/7", "no ce_id")] * 2,
    )
    return history, seen


def faults(findings: list[Finding]) -> set[tuple[str, Fault]]:
    return {(each.stage, each.fault) for each in findings}


def test_a_good_history_has_no_findings() -> None:
    assert judge(*good()) == []


@pytest.mark.parametrize(
    ("stage", "fault", "change"),
    [
        ("archive", Fault.LOST, {"archived": in_archive("batch-0", "batch-1")}),
        ("archive", Fault.DOUBLED, {"archived": in_archive("batch-0", "batch-1", "batch-2", "batch-1")}),
        ("archive", Fault.UNSEEN, {"archived": in_archive("batch-0", "batch-1", "batch-2", "batch-9")}),
        ("archive", Fault.DOUBLED, {"archived": [*in_archive("batch-0", "batch-1"), Archived("batch-2", "other")]}),
        ("detector", Fault.LOST, {"fired": [Fired("f1", "stop_sign_chaos", 1, "car", 10)]}),
        ("detector", Fault.UNSEEN, {"computed": [Fired("f1", "stop_sign_chaos", 1, "car", 10)]}),
        ("detector", Fault.DOUBLED, {"computed": [Fired("f1", "stop_sign_chaos", 1, "car", 11),
                                                  Fired("f2", "chaos_unrouted", 1, "car", 20)]}),
        ("router", Fault.LOST, {"routed": [Routed("f1", "routed", "t1")]}),
        ("router", Fault.STUCK, {"routed": [Routed("f1", "routed", "t1"), Routed("f2", "clip_wanted")]}),
        ("router", Fault.DOUBLED, {"routed": [Routed("f1", "routed", "t1"), Routed("f1", "dropped"),
                                              Routed("f2", "dropped")]}),
        ("router", Fault.UNSEEN, {"routed": [Routed("f1", "routed", "t1"), Routed("f2", "dropped"),
                                             Routed("f3", "dropped")]}),
        ("router", Fault.UNSEEN, {"routed": [Routed("f1", "routed", "t1"), Routed("f2", "forgotten")]}),
        ("label tasks", Fault.LOST, {"tasks": {}, "ended": []}),
        ("label tasks", Fault.UNSEEN, {"tasks": {"t1": "f1", "t2": "f2"}}),
        ("label tasks", Fault.DOUBLED, {"tasks": {"t1": "f2"}}),
        ("clips", Fault.LOST, {"clip_of": {}}),
        ("clips", Fault.UNSEEN, {"clip_of": {"f1": "another"}}),
        ("desk", Fault.STUCK, {"ended": []}),
        ("desk", Fault.DOUBLED, {"ended": [Ended("end-1", "t1", "s1", "agreed"),
                                           Ended("end-2", "t1", "s1", "disputed")]}),
        ("desk", Fault.UNSEEN, {"ended": [Ended("end-1", "t1", "s1", "disputed")]}),
        ("desk", Fault.UNSEEN, {"ended": [Ended("end-1", "t1", "s1", "agreed"),
                                          Ended("end-2", "t9", "s9", "agreed")]}),
        ("curator", Fault.LOST, {"added": []}),
        ("curator", Fault.DOUBLED, {"added": ["s1", "s1"]}),
        ("curator", Fault.DOUBLED, {"refused": frozenset({"s1"})}),
        ("curator", Fault.UNSEEN, {"added": ["s1", "s9"]}),
        ("curator", Fault.UNSEEN, {"refused": frozenset({"s9"})}),
        ("monitor", Fault.LOST, {"sums": {}}),
        ("monitor", Fault.DOUBLED, {"sums": {**{name: Fraction(5, 4) for name in SUMMED}, "reports": Fraction(2)}}),
        ("ledger", Fault.LOST, {"ledger": {}}),
        ("ledger", Fault.DOUBLED, {"kept": {}}),
        ("dead-letter queue", Fault.LOST, {"dead_letters": []}),
        ("dead-letter queue", Fault.UNSEEN, {"dead_letters": [
            DeadLetter("mark", "label-router", "t/0/7", ""), DeadLetter("honest", "label-router", "t/0/8", "bug")]}),
    ],
)  # fmt: skip
def test_what_a_stage_does_wrong_is_found(stage: str, fault: Fault, change: dict[str, object]) -> None:
    history, seen = good()
    assert (stage, fault) in faults(judge(history, replace(seen, **change)))  # type: ignore[arg-type]


def test_a_firing_that_the_detectors_core_misses_too_is_lost() -> None:
    history, seen = good()
    half = list(seen.fired or ())[:1]
    findings = judge(history, replace(seen, fired=half, computed=half))
    assert Finding("detector", Fault.LOST, "chaos_unrouted of car at 20", "the drive has it") in findings


def test_a_firing_that_the_detectors_core_invents_too_is_unseen() -> None:
    history, seen = good()
    more = [*(seen.fired or ()), Fired("f9", "stop_sign_chaos", 1, "car", 20)]
    findings = judge(history, replace(seen, fired=more, computed=more))
    assert Finding("detector", Fault.UNSEEN, "stop_sign_chaos of car at 20", "the drive does not have it") in findings


def test_two_firings_of_one_onset_are_doubled() -> None:
    history, seen = good()
    more = [*(seen.fired or ()), Fired("f9", "stop_sign_chaos", 1, "car", 10)]
    findings = judge(history, replace(seen, fired=more, computed=more))
    assert Finding("detector", Fault.DOUBLED, "stop_sign_chaos of car at 10", "2 firings") in findings


def test_a_frame_after_a_gap_may_fire_and_need_not() -> None:
    second = 10**9
    before = Drive("car", "boot", 0, second, "00")
    after = Drive("car", "boot", 5 * second, second, "10")
    required, allowed = onsets({"b": after, "a": before}, {})
    assert required == {("chaos_unrouted", "car", 6 * second)}
    assert allowed - required == {("chaos_unrouted", "car", 0), ("stop_sign_chaos", "car", 5 * second)}


@pytest.mark.parametrize(("later_s", "must"), [(1.0, True), (50.0, True), (90.0, False)])
def test_what_arrives_after_the_detectors_memory_may_fire_and_need_not(later_s: float, must: bool) -> None:
    second = 10**9
    drives = {"a": Drive("car", "boot", 0, second, "00"), "b": Drive("car", "boot", 2 * second, second, "10")}
    required, allowed = onsets(drives, {"a": 100.0, "b": 100.0 + later_s})
    assert (("stop_sign_chaos", "car", 2 * second) in required) is must
    assert ("stop_sign_chaos", "car", 2 * second) in allowed
    assert ("chaos_unrouted", "car", 3 * second) in required, "within the batch all is known"


def test_a_sample_of_an_honest_clip_must_not_be_refused() -> None:
    history, seen = good()
    findings = judge(history, replace(seen, added=[], refused=frozenset({"s1"})))
    assert faults(findings) == {("curator", Fault.LOST)}


def test_a_sample_of_a_hostile_clip_must_be_refused() -> None:
    history, seen = good()
    history.apply({"kind": "hostile", "firing": "f1", "input": "a bomb"})
    assert faults(judge(history, replace(seen, added=[], refused=frozenset({"s1"})))) == set()
    assert faults(judge(history, seen)) == {("curator", Fault.UNSEEN)}


def test_one_binary_digit_too_few_in_a_sum_is_found() -> None:
    history, seen = good()
    assert seen.sums is not None
    sums = {**seen.sums, "autopilot_km": Fraction(5, 4) - Fraction(1, 2**52)}
    assert faults(judge(history, replace(seen, sums=sums))) == {("monitor", Fault.LOST)}


def test_a_batch_that_was_stored_and_never_acknowledged_may_be_archived_and_its_sender_is_stuck() -> None:
    history, seen = good()
    history.apply({"kind": "sent", "id": "batch-3", "vehicle": "car", "content": "c"})
    findings = judge(history, replace(seen, archived=[*(seen.archived or ()), *in_archive("batch-3")]))
    assert faults(findings) == {("sender", Fault.STUCK)}


def test_a_refused_batch_of_an_honest_sender_is_lost() -> None:
    history, seen = good()
    history.apply({"kind": "sent", "id": "batch-3", "vehicle": "car", "content": "c"})
    history.apply({"kind": "refused", "id": "batch-3", "why": "FUTURE"})
    assert faults(judge(history, seen)) == {("sender", Fault.LOST)}


def test_poison_that_the_gateway_accepts_or_never_answers_is_found() -> None:
    history, seen = good()
    history.door["at-door"] = ""
    assert faults(judge(history, seen)) == {("door", Fault.UNSEEN)}
    history.door.clear()
    assert faults(judge(history, seen)) == {("door", Fault.STUCK)}


@pytest.mark.parametrize("code", ["UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "NO_ANSWER"])
def test_a_server_that_fails_has_refused_nothing(code: str) -> None:
    history, seen = good()
    history.door["at-door"] = code
    assert faults(judge(history, seen)) == {("door", Fault.STUCK)}


@pytest.mark.parametrize("stage", ["archive", "monitor"])
def test_a_stage_that_cannot_be_read_never_passes(stage: str) -> None:
    history, _ = good()
    assert (stage, Fault.STUCK) in faults(judge(history, Observed(unreadable={stage: "no answer"})))


def test_what_arrives_late_was_stuck_and_what_never_arrives_is_lost() -> None:
    late, gone = Finding("archive", Fault.LOST, "late"), Finding("archive", Fault.LOST, "gone")
    found = {(each.id, each.fault) for each in late_or_lost([late, gone], [gone])}
    assert found == {("late", Fault.STUCK), ("gone", Fault.LOST)}


@settings(deadline=None)
@given(st.sets(st.text(max_size=3)), st.lists(st.text(max_size=3)), st.sets(st.text(max_size=3)))
def test_compare_finds_nothing_exactly_when_each_required_id_is_there_once(
    required: set[str], found: list[str], more: set[str]
) -> None:
    allowed = required | more
    in_order = required <= set(found) <= allowed and len(set(found)) == len(found)
    assert (compare("stage", required, found, allowed) == []) is in_order
