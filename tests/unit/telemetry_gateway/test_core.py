"""A vehicle can send only its own data, and a refusal of an unusable batch names the field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.validation import BatchError
from telemetry_gateway.core import (
    SpanBudget,
    batch_id,
    check_clip,
    check_report,
    check_sender,
    check_size,
    clip_event_id,
    trace_of,
)
from telemetry_gateway.model import NOT_YOURS, Clip, FieldError, Sender

NOW_NS = 1_700_000_100_000_000_000
ME = Sender("fleet", "car")
BATCH = FrameBatch(
    "fleet", "car", b"12345678", 3, 0, NOW_NS - 10**9, "gnss", np.array([0], np.int64),
    {"Speed": Column(np.ones(1, np.float32)), "New": Column(np.ones(1, np.float32))},
)  # fmt: skip
CLIP = Clip("a" * 64, 100, "fleet", "car", b"12345678", NOW_NS - 10**10, NOW_NS - 10**9, ("front",))


@pytest.mark.parametrize(("field", "value"), [("vehicle_id", "other"), ("fleet_id", "other"), ("vehicle_id", "")])
def test_nobody_speaks_for_another(field: str, value: Any) -> None:
    batch = replace(BATCH, **{field: value})
    with pytest.raises(BatchError) as caught:
        check_sender(batch.fleet_id, batch.vehicle_id, ME)
    assert (caught.value.code, caught.value.field) == (NOT_YOURS, field)


def test_too_large_a_batch_is_refused_before_it_is_looked_at() -> None:
    check_size(10, 10)
    with pytest.raises(BatchError, match="at most 10") as caught:
        check_size(11, 10)
    assert caught.value.code == "size"


def test_a_batch_has_one_id_however_it_comes_and_no_other_has_it() -> None:
    assert batch_id(BATCH) == batch_id(replace(BATCH, columns={}, start_utc_ns=0))
    others = [replace(BATCH, sequence=4), replace(BATCH, boot_id=b"87654321"), replace(BATCH, vehicle_id="c")]
    assert len({batch_id(batch) for batch in [BATCH, *others]}) == 4
    version, trace, span, flags = trace_of(batch_id(BATCH)).split("-")
    assert (version, trace, len(span), flags) == ("00", batch_id(BATCH), 16, "01")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("header.sha256", {"sha256": "A" * 64}),
        ("header.sha256", {"sha256": "../" + "a" * 61}),
        ("header.size_bytes", {"size_bytes": 15}),
        ("header.size_bytes", {"size_bytes": 1001}),
        ("header.boot_id", {"boot_id": b"short"}),
        ("header.end_utc_ns", {"start_utc_ns": 0}),
        ("header.end_utc_ns", {"end_utc_ns": CLIP.start_utc_ns - 1}),
        ("header.end_utc_ns", {"start_utc_ns": NOW_NS - 4000 * 10**9}),
        ("header.model_digest", {"model_digest": "abc"}),
        ("header.firing_id", {"firing_id": "x" * 65}),
        ("header.firing_id", {"firing_id": "a\0b"}),
        ("header.command_id", {"command_id": "x" * 65}),
        ("header.cameras", {"cameras": ("",)}),
        ("header.cameras", {"cameras": ("c" * 256,) * 64}),
        ("header.cameras", {"cameras": ("c",) * 65}),
    ],
)
def test_a_wrong_header_is_refused_by_its_field(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(FieldError) as caught:
        check_clip(replace(CLIP, **change), 1000)
    assert caught.value.field == field


def test_a_right_header_passes_and_a_name_that_is_a_path_does_not() -> None:
    check_clip(CLIP, 1000)
    with pytest.raises(FieldError, match=r"header\.vehicle_id"):
        check_clip(replace(CLIP, vehicle_id=".."), 1000)
    assert clip_event_id("a", "1") != clip_event_id("a", "2")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("report.boot_id", {"boot_id": b""}),
        ("report.end_utc_ns", {"end_utc_ns": 0}),
        ("report.start_utc_ns", {"start_utc_ns": -(2**62)}),
        ("report.model_digest", {"digests": {"model_digest": "x"}}),
        ("report.distance_km", {"amounts": {"distance_km": float("inf")}}),
        ("report.distance_km", {"amounts": {"distance_km": -0.1}}),
        ("report.distance_km", {"amounts": {"distance_km": 12.1}}),
        ("report.interventions", {"amounts": {"interventions": 2**32 - 1}}),
        ("report.interventions", {"amounts": {"interventions": 121}}),
        ("report.inferences", {"amounts": {"inferences": 120_001}}),
        ("report.faults[x]", {"faults": {"x": 120_001}}),
        ("report.end_utc_ns", {"end_utc_ns": 367 * 86_400 * 10**9}),
    ],
)
def test_a_report_that_cannot_be_counted_is_refused_by_its_field(field: str, change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "boot_id": b"12345678",
        "start_utc_ns": 1,
        "end_utc_ns": 60 * 10**9 + 1,
        "digests": {"model_digest": ""},
        "amounts": {"distance_km": 12.0, "interventions": 120, "inferences": 120_000, "inference_p99_ms": 1e6},
        "faults": {"x": 120_000},
    }
    check_report(**good)
    with pytest.raises(FieldError) as caught:
        check_report(**{**good, **change})
    assert caught.value.field == field


def test_spans_are_bounded_in_each_second() -> None:
    budget = SpanBudget(2)
    assert [budget.allows(at) for at in (0, 1, 2, 10**9, 10**9 + 1, 10**9 + 2)] == [True, True, False] * 2
    assert not SpanBudget(0).allows(5)
