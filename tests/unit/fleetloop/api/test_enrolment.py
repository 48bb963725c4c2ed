"""Vehicles and people get an identity and lose it; the admission list follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetloop.api.enrolment import Enrolment
from fleetloop.errors import UserError
from fleetloop.kit.refusal import PermissionDeniedError
from fleetloop.kit.security.admission import AdmissionList
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.layout import RunLayout

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout.at(tmp_path / "run")


def test_enrolling_twice_is_once_and_a_renewal_retires_the_old_certificate(layout: RunLayout) -> None:
    enrolment, gateway = Enrolment(layout, "demo"), AdmissionList(layout.admission_list)
    first = enrolment.enrol("VIN1", now=NOW)
    assert enrolment.enrol("VIN1", now=NOW) == first
    gateway.admitted(first.identity, first.serial)
    second = enrolment.enrol("VIN1", now=NOW, renew=True)
    gateway.admitted(second.identity, second.serial)
    with pytest.raises(PermissionDeniedError):
        gateway.admitted(first.identity, first.serial)


def test_after_a_revocation_only_a_new_certificate_gets_in(layout: RunLayout, tmp_path: Path) -> None:
    enrolment, gateway = Enrolment(layout, "demo"), AdmissionList(layout.admission_list)
    first = enrolment.enrol("VIN1", now=NOW, out=tmp_path / "car")
    assert sorted(path.name for path in (tmp_path / "car").glob("*.pem")) == ["ca.pem", "cert.pem", "key.pem"]
    enrolment.revoke("VIN1", now=NOW, reason="sold")
    with pytest.raises(PermissionDeniedError):
        gateway.admitted(first.identity, first.serial)
    again = enrolment.enrol("VIN1", now=NOW + timedelta(days=1), out=tmp_path / "car")
    assert again.serial != first.serial
    gateway.admitted(again.identity, again.serial)


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


def test_a_person_has_the_roles_of_the_enrolment_and_of_later_changes(layout: RunLayout) -> None:
    enrolment, server = Enrolment(layout, "demo"), AdmissionList(layout.admission_list)
    ann = enrolment.enrol("ann", kind=IdentityKind.USER, roles=["lead"], now=NOW)
    assert server.admitted(ann.identity, ann.serial).roles == ("lead",)
    enrolment.change_roles("ann", add=["operator"], remove=["lead"])
    assert server.admitted(ann.identity, ann.serial).roles == ("operator",)
    assert [each.spiffe_id for each in enrolment.entries(IdentityKind.USER)] == ["spiffe://demo/user/ann"]
    assert enrolment.entries(IdentityKind.VEHICLE) == ()


def test_a_role_that_is_none_is_refused_and_nothing_is_changed(layout: RunLayout) -> None:
    enrolment = Enrolment(layout, "demo")
    with pytest.raises(UserError, match=r"no role 'king'; access\.yaml has labeller, lead"):
        enrolment.enrol("ann", kind=IdentityKind.USER, roles=["king"], now=NOW)
    assert enrolment.entries() == ()
    enrolment.enrol("ann", kind=IdentityKind.USER, roles=["lead"], now=NOW)
    with pytest.raises(UserError, match="no role 'king'"):
        enrolment.change_roles("ann", add=["king"])
    with pytest.raises(UserError, match="a vehicle has no roles"):
        enrolment.enrol("VIN1", roles=["lead"], now=NOW)
    assert [each.roles for each in enrolment.entries()] == [("lead",)]
