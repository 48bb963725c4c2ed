"""A report counts only for the vehicle under whose key it was written."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.domain.reports import report_in
from fleetloop.domain.topics import HEALTH
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.health.v1 import health_pb2
from rollout_controller.codec import report_of

REPORT = health_pb2.VehicleReport(fleet_id="f", vehicle_id="car", boot_id=b"12345678", sequence=3)
RECORD = Record(HEALTH, 0, 0, b"car", REPORT.SerializeToString(), [], 0)


def test_a_report_under_its_vehicles_key_is_read() -> None:
    assert report_in(RECORD) == REPORT


@given(st.none() | st.binary(max_size=5) | st.just(b"car "))
def test_a_report_under_another_key_is_unreadable(key: bytes | None) -> None:
    if key == b"car":
        return
    with pytest.raises(UnreadableMessageError, match="vehicle_id: must equal the key"):
        report_in(replace(RECORD, key=key))


def test_a_report_without_a_boot_is_unreadable() -> None:
    report = health_pb2.VehicleReport(fleet_id="f", vehicle_id="car", sequence=3)
    with pytest.raises(UnreadableMessageError, match="boot_id must be set"):
        report_in(replace(RECORD, value=report.SerializeToString()))


def test_no_vehicle_attests_a_model_for_another() -> None:
    with pytest.raises(UnreadableMessageError):
        report_of(replace(RECORD, key=b"another"))
