"""The detector against the slow reference, on random triggers and telemetry, wherever the log is cut."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from tests.unit.fleetloop.triggerlang.reference import ReferenceDetector
from tests.unit.fleetloop.triggerlang.telemetry import CATALOGUE, EXPRESSIONS, random_log

from fleetloop.triggerlang.trigger import ALWAYS, RISING_EDGE, Trigger
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended, CampaignRevision, Firing, Limits
from trigger_detector.plan import Plan, make_plan

LIMITS = Limits(horizon_s=20, lateness_s=2)
Log = list[Appended]
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def plan_of(*expressions: str) -> Plan:
    triggers = tuple(
        Trigger(f"t{i}", 1, e, mode=(RISING_EDGE, ALWAYS)[i % 2], min_interval_s=0.3)
        for i, e in enumerate(expressions)
    )
    plan, problems = make_plan([(CampaignRevision("c", 1, True, triggers), 0)], CATALOGUE, LIMITS)
    assume(not any("more than the 5 s that are kept" in p.message for p in problems))
    assert problems == ()
    return plan


def log_of(seed: int) -> Log:
    return [Appended(batch, append_ms) for batch, append_ms in random_log(seed)]


def run(log: Log, plan: Plan, cuts: set[int]) -> list[Firing]:
    state, begin = DetectorState(), 0
    found: list[Firing] = []
    for cut in [*sorted(cuts), len(log)]:
        result = evaluate_batches_in_place(state, log[begin:cut], plan)
        found += result.firings
        begin = cut
    return found


@EXAMPLES
@given(st.lists(EXPRESSIONS, min_size=1, max_size=4), st.integers(0, 2**32), st.integers(0, 2**14))
def test_it_fires_where_the_reference_does(expressions: list[str], seed: int, cut_bits: int) -> None:
    plan, log = plan_of(*expressions), log_of(seed)
    cuts = {i for i in range(1, len(log)) if cut_bits >> i & 1}
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for firing in run(log, plan, cuts):
        found[firing.vehicle_id, firing.trigger.name].append(firing.onset_monotonic_ns)
    for active, compiled in zip(plan.actives, plan.program.triggers, strict=True):
        for vehicle in ("v0", "v1"):
            trigger = active.trigger
            interval_ns = round(trigger.min_interval_s * 1e9)
            slow = ReferenceDetector(compiled.condition, trigger.mode, interval_ns, 5, LIMITS.lateness_s)
            own = [a for a in log if a.batch.vehicle_id == vehicle]
            expected = [t for a in own for t in slow.feed(a.batch, a.append_ms)]
            assert found[vehicle, trigger.name] == expected, (trigger.expression, vehicle)


@EXAMPLES
@given(
    st.lists(EXPRESSIONS, min_size=1, max_size=4), st.integers(0, 2**32), st.integers(1, 13), st.integers(0, 2**14)
)
def test_a_replay_of_the_horizon_restores_everything(
    expressions: list[str], seed: int, restart: int, cut_bits: int
) -> None:
    plan, log = plan_of(*expressions), log_of(seed)
    whole = run(log, plan, set())
    first_ms = log[restart].append_ms - round(LIMITS.horizon_s * 1000)
    begin = next(i for i, a in enumerate(log) if a.append_ms >= first_ms)
    state = DetectorState()
    evaluate_batches_in_place(state, log[begin:restart], plan)
    after: list[Firing] = []
    cuts = [i for i in range(restart + 1, len(log)) if cut_bits >> i & 1]
    for low, high in zip([restart, *cuts], [*cuts, len(log)], strict=True):
        result = evaluate_batches_in_place(state, log[low:high], plan)
        after += result.firings
    before = len(run(log[:restart], plan, set()))
    assert after == whole[before:]


@EXAMPLES
@given(st.lists(EXPRESSIONS, min_size=2, max_size=5), st.integers(0, 2**32))
# A signal that is read at the instant of the newest list, some batches ago.
@example(["F", "any_track(T, Score > 0.37 or exists(-(abs(Score) / B))) or A > B"], 520070682)
def test_triggers_do_not_disturb_one_another(expressions: list[str], seed: int) -> None:
    log = log_of(seed)
    together = {f.firing_id for f in run(log, plan_of(*expressions), set())}
    separately: set[str] = set()
    for i, expression in enumerate(expressions):
        trigger = Trigger(f"t{i}", 1, expression, mode=(RISING_EDGE, ALWAYS)[i % 2], min_interval_s=0.3)
        plan, _ = make_plan([(CampaignRevision("c", 1, True, (trigger,)), 0)], CATALOGUE, LIMITS)
        separately |= {f.firing_id for f in run(log, plan, set(np.arange(1, len(log)).tolist()))}
    assert together == separately
