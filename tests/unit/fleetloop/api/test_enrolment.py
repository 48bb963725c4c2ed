"""Vehicles get an identity and lose it; the gateway's list follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetloop.api.enrolment import Enrolment
from fleetloop.errors import UserError
from fleetloop.kit.security.admission import AdmissionList
from fleetloop.layout import RunLayout

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout.at(tmp_path / "run")


def test_enrolling_twice_is_once_and_a_renewal_retires_the_old_certificate(layout: RunLayout) -> None:
    enrolment, gateway = Enrolment(layout, "demo"), AdmissionList(layout.vehicle_register)
    first = enrolment.enrol("VIN1", now=NOW)
    assert enrolment.enrol("VIN1", now=NOW) == first
    assert gateway.refusal("spiffe://demo/vehicle/VIN1", first.serial) is None
    second = enrolment.enrol("VIN1", now=NOW, renew=True)
    assert gateway.refusal("spiffe://demo/vehicle/VIN1", second.serial) is None
    assert gateway.refusal("spiffe://demo/vehicle/VIN1", first.serial) is not None


def test_after_a_revocation_only_a_new_certificate_gets_in(layout: RunLayout, tmp_path: Path) -> None:
    enrolment, gateway = Enrolment(layout, "demo"), AdmissionList(layout.vehicle_register)
    first = enrolment.enrol("VIN1", now=NOW, out=tmp_path / "car")
    assert sorted(path.name for path in (tmp_path / "car").glob("*.pem")) == ["ca.pem", "cert.pem", "key.pem"]
    enrolment.revoke("VIN1", now=NOW, reason="sold")
    assert gateway.refusal("spiffe://demo/vehicle/VIN1", first.serial) is not None
    again = enrolment.enrol("VIN1", now=NOW + timedelta(days=1), out=tmp_path / "car")
    assert again.serial != first.serial
    assert gateway.refusal("spiffe://demo/vehicle/VIN1", again.serial) is None


@pytest.mark.parametrize("name", ["", "../gateway", "a/b", "a b", "x" * 64])
def test_names_that_are_no_ids_are_refused(layout: RunLayout, name: str) -> None:
    with pytest.raises(UserError, match="vehicle name"):
        Enrolment(layout, "demo").enrol(name, now=NOW)
    assert Enrolment(layout, "demo").entries() == ()


def test_another_fleet_cannot_be_enrolled_in_the_same_folder(layout: RunLayout) -> None:
    Enrolment(layout, "demo").enrol("VIN1", now=NOW)
    with pytest.raises(UserError, match="fleet demo, not of other"):
        Enrolment(layout, "other").enrol("VIN1", now=NOW)


def test_a_folder_that_cannot_be_written_is_named(layout: RunLayout, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Enrolment(layout, "demo").enrol("VIN1", now=NOW, out=tmp_path / "file")
