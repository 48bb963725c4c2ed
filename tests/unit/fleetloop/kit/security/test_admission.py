"""The list of who is admitted: refuses by default, notices every change, and never shows a half-written state."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetloop.kit.refusal import PermissionDeniedError, UnavailableError
from fleetloop.kit.security.admission import AdmissionList, admit, revoke, set_roles
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A = Identity("demo", IdentityKind.VEHICLE, "a")
B = Identity("demo", IdentityKind.VEHICLE, "b")
ANN = Identity("demo", IdentityKind.USER, "ann")
WRONG = (
    '{"format": 2, "admitted": [{"spiffe_id": "spiffe://demo/vehicle/a", "serial": 7, "since": "", "roles": ["x"]}]}'
)


def refusal(reader: AdmissionList, who: Identity, serial: str | None = None) -> str | None:
    """The reason for which a caller is refused; None when it is admitted."""
    try:
        reader.admitted(who, serial)
    except PermissionDeniedError as error:
        return str(error)
    return None


def test_without_a_list_nothing_is_decided(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no admission list"):
        AdmissionList(tmp_path / "admission.json").admitted(A, "1f")


def test_a_reader_sees_enrolment_revocation_and_a_new_enrolment_at_once(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    reader = AdmissionList(path)
    admit(path, B, "1f", now=NOW)
    assert "not enrolled" in str(refusal(reader, A))
    admit(path, A, "1f", now=NOW)
    assert refusal(reader, A, "1f") is None
    assert refusal(reader, A) is None
    revoke(path, A, now=NOW, reason="sold")
    assert str(refusal(reader, A, "1f")).endswith("was revoked on 2026-03-01T12:00:00+00:00: sold")
    admit(path, A, "2e", now=NOW + timedelta(days=1))
    assert refusal(reader, A, "2e") is None
    assert "enrolled again" in str(refusal(reader, A, "1f"))


def test_a_reader_names_the_revoked_of_a_kind(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    reader = AdmissionList(path)
    with pytest.raises(UnavailableError):
        reader.revoked(IdentityKind.VEHICLE)
    admit(path, A, "1f", now=NOW)
    admit(path, B, "1f", now=NOW)
    assert reader.revoked(IdentityKind(A.kind)) == frozenset()
    revoke(path, A, now=NOW, reason="sold")
    assert reader.revoked(IdentityKind(A.kind)) == {A.name}
    assert all(reader.revoked(kind) == frozenset() for kind in IdentityKind if kind != A.kind)
    admit(path, A, "2e", now=NOW + timedelta(days=1))
    assert reader.revoked(IdentityKind(A.kind)) == frozenset()


def test_repeating_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    first = admit(path, A, "1f", now=NOW)
    assert admit(path, A, "1f", now=NOW + timedelta(days=1)) == first
    gone = revoke(path, A, now=NOW, reason="sold")
    assert revoke(path, A, now=NOW + timedelta(days=1), reason="stolen") == gone


def test_who_was_never_enrolled_cannot_be_revoked(tmp_path: Path) -> None:
    admit(tmp_path / "admission.json", A, "1f", now=NOW)
    with pytest.raises(PkiError, match="vehicle/b is not enrolled"):
        revoke(tmp_path / "admission.json", B, now=NOW)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 3, "admitted": []}', '{"format": 2, "admitted": [{}]}', '{"format": 2}', WRONG],
)
def test_a_broken_list_refuses_everybody_and_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "admission.json"
    admit(path, A, "1f", now=NOW)
    reader = AdmissionList(path)
    assert refusal(reader, A) is None
    path.write_text(content)
    with pytest.raises(UnavailableError, match="cannot be read"):
        reader.admitted(A)
    with pytest.raises(PkiError, match="cannot be read"):
        admit(path, B, "2e", now=NOW)
    assert path.read_text() == content


def test_a_reader_never_loses_an_admitted_vehicle_while_others_are_written(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    admit(path, A, "1f", now=NOW)
    reader, stop, refusals = AdmissionList(path), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            refusals.append(refusal(reader, A, "1f"))

    asking = threading.Thread(target=ask)
    asking.start()
    for number in range(40):
        admit(path, Identity("demo", IdentityKind.VEHICLE, f"v{number}"), "1", now=NOW)
    stop.set()
    asking.join()
    assert refusals
    assert set(refusals) == {None}
    assert len(reader.entries()) == 41


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    admit(path, A, "1f", now=NOW)
    document = json.loads(path.read_text())
    document["admitted"][0]["colour"] = "red"
    path.write_text(json.dumps(document))
    assert refusal(AdmissionList(path), A, "1f") is None


def test_roles_change_at_once_and_a_renewal_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    reader = AdmissionList(path)
    admit(path, ANN, "1f", now=NOW, roles=["lead", "labeller", "lead"])
    assert reader.admitted(ANN).roles == ("labeller", "lead")
    set_roles(path, ANN, add=["operator"], remove=["labeller", "subscriber"])
    assert reader.admitted(ANN, "1f").roles == ("lead", "operator")
    admit(path, ANN, "2e", now=NOW)
    assert reader.admitted(ANN, "2e").roles == ("lead", "operator")
    admit(path, ANN, "2e", now=NOW, roles=[])
    assert reader.admitted(ANN, "2e").roles == ()


def test_roles_are_for_the_admitted(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    with pytest.raises(PkiError, match="user/ann is not enrolled"):
        set_roles(path, ANN, add=["operator"])
    admit(path, ANN, "1f", now=NOW)
    revoke(path, ANN, now=NOW)
    with pytest.raises(PkiError, match="user/ann is revoked"):
        set_roles(path, ANN, add=["operator"])


def test_a_service_is_admitted_by_name_with_any_certificate(tmp_path: Path) -> None:
    path, desk = tmp_path / "admission.json", Identity("demo", IdentityKind.SERVICE, "label-desk")
    admit(path, desk, "", now=NOW)
    assert refusal(AdmissionList(path), desk, "1f") is None
    revoke(path, desk, now=NOW)
    assert "was revoked" in str(refusal(AdmissionList(path), desk, "1f"))


@pytest.mark.parametrize("name", ["admission.json", "vehicles.json"])
def test_a_list_of_the_first_format_is_read_and_written_again_in_the_second(tmp_path: Path, name: str) -> None:
    path = tmp_path / "admission.json"
    entry: dict[str, object] = {
        "spiffe_id": A.uri,
        "serial": "1f",
        "since": "2026-03-01T12:00:00+00:00",
        "revoked": None,
        "reason": "",
    }
    (tmp_path / name).write_text(json.dumps({"format": 1, "admitted": [entry]}))
    admit(path, B, "2e", now=NOW)
    assert json.loads(path.read_text())["format"] == 2
    assert refusal(AdmissionList(path), A, "1f") is None
