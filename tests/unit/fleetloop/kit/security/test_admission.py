"""The list of who is admitted: refuses by default, notices every change, and never shows a half-written state."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetloop.kit.security.admission import AdmissionList, admit, revoke
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A = Identity("demo", IdentityKind.VEHICLE, "a")
B = Identity("demo", IdentityKind.VEHICLE, "b")


def test_without_a_list_nobody_is_admitted(tmp_path: Path) -> None:
    refusal = AdmissionList(tmp_path / "vehicles.json").refusal(A.uri, "1f")
    assert refusal is not None
    assert "no vehicle is enrolled" in refusal


def test_a_reader_sees_enrolment_revocation_and_a_new_enrolment_at_once(tmp_path: Path) -> None:
    path = tmp_path / "vehicles.json"
    reader = AdmissionList(path)
    assert reader.refusal(A.uri) is not None
    admit(path, A, "1f", now=NOW)
    assert reader.refusal(A.uri, "1f") is None
    assert reader.refusal(A.uri) is None
    assert "not enrolled" in str(reader.refusal(B.uri, "1f"))
    revoke(path, A, now=NOW, reason="sold")
    assert str(reader.refusal(A.uri, "1f")).endswith("was revoked on 2026-03-01T12:00:00+00:00: sold")
    admit(path, A, "2e", now=NOW + timedelta(days=1))
    assert reader.refusal(A.uri, "2e") is None
    assert "enrolled again" in str(reader.refusal(A.uri, "1f"))


def test_repeating_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vehicles.json"
    first = admit(path, A, "1f", now=NOW)
    assert admit(path, A, "1f", now=NOW + timedelta(days=1)) == first
    gone = revoke(path, A, now=NOW, reason="sold")
    assert revoke(path, A, now=NOW + timedelta(days=1), reason="stolen") == gone


def test_who_was_never_enrolled_cannot_be_revoked(tmp_path: Path) -> None:
    admit(tmp_path / "vehicles.json", A, "1f", now=NOW)
    with pytest.raises(PkiError, match="vehicle/b is not enrolled"):
        revoke(tmp_path / "vehicles.json", B, now=NOW)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2, "admitted": []}', '{"format": 1, "admitted": [{}]}']
)
def test_a_broken_list_refuses_everybody_and_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vehicles.json"
    admit(path, A, "1f", now=NOW)
    reader = AdmissionList(path)
    assert reader.refusal(A.uri) is None
    path.write_text(content)
    assert "cannot be read" in str(reader.refusal(A.uri))
    with pytest.raises(PkiError, match="cannot be read"):
        admit(path, B, "2e", now=NOW)
    assert path.read_text() == content


def test_a_reader_never_loses_an_admitted_vehicle_while_others_are_written(tmp_path: Path) -> None:
    path = tmp_path / "vehicles.json"
    admit(path, A, "1f", now=NOW)
    reader, stop, refusals = AdmissionList(path), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            refusals.append(reader.refusal(A.uri, "1f"))

    asking = threading.Thread(target=ask)
    asking.start()
    for number in range(40):
        admit(path, Identity("demo", IdentityKind.VEHICLE, f"v{number}"), "1", now=NOW)
    stop.set()
    asking.join()
    assert refusals
    assert set(refusals) == {None}
    assert len(reader.entries()) == 41
