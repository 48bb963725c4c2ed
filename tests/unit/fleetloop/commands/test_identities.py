"""`fleetloop users`, `services`, `vehicles request` and `authority`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleetloop.cli import app
from fleetloop.errors import UserError


class Shell:
    """Runs commands on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--dir", str(self.folder)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def refused(self, *arguments: str) -> str:
        with pytest.raises(UserError) as caught:
            CliRunner().invoke(app, [*arguments, "--dir", str(self.folder)], catch_exceptions=False)
        return f"{caught.value.message} {caught.value.remedy}"

    def entries(self, group: str) -> dict[str, dict[str, object]]:
        found = json.loads(self(group, "list", "--json"))
        return {each["spiffe_id"].rpartition("/")[2]: each for each in found}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "run")


def test_a_person_is_enrolled_given_other_roles_and_revoked(shell: Shell) -> None:
    said = shell("users", "enrol", "ann", "--role", "lead", "--role", "labeller")
    assert "spiffe://demo/user/ann is enrolled until" in said
    assert shell.entries("users")["ann"]["roles"] == ["labeller", "lead"]
    assert (
        shell("users", "roles", "ann", "--add", "operator", "--remove", "lead").strip().endswith("labeller, operator")
    )
    assert shell("users", "roles", "ann").strip().endswith("labeller, operator"), (
        "without an option it only says them"
    )
    assert "is revoked since" in shell("users", "revoke", "ann", "--reason", "left")
    assert shell.entries("users")["ann"]["reason"] == "left"
    assert "ann" in shell("users", "list")


def test_a_request_is_made_without_a_fleet_and_signed_where_the_authority_is(shell: Shell, tmp_path: Path) -> None:
    for group, role in (("users", ("--role", "lead")), ("vehicles", ())):
        own, given = tmp_path / f"{group}-own", tmp_path / f"{group}-given"
        made = CliRunner().invoke(app, [group, "request", "ann", "--out", str(own)], catch_exceptions=False)
        assert made.exit_code == 0
        assert sorted(path.name for path in own.iterdir()) == ["key.pem", "request.pem"]
        said = shell(group, "enrol", "ann", "--csr", str(own / "request.pem"), "--out", str(given), *role)
        assert {path.name for path in given.glob("*.pem")} == {"cert.pem", "ca.pem"}
        assert "FLEETLOOP_TLS_KEY=" not in said
        assert shell.entries(group)["ann"]["revoked"] is None


def test_mistakes_name_the_field_and_the_remedy(shell: Shell, tmp_path: Path) -> None:
    enrol = ("users", "enrol", "ann", "--role")
    assert "there is no role 'boss'; access.yaml has labeller" in shell.refused(*enrol, "boss")
    assert "`fleetloop users enrol ben` admits it" in shell.refused("users", "roles", "ben", "--add", "lead")
    assert "fleetloop users list" in shell.refused("users", "revoke", "ben")
    missing = str(tmp_path / "none.pem")
    assert f"the request {missing} cannot be read" in shell.refused(*enrol, "lead", "--csr", missing)
    assert "There is no authority" in Shell(tmp_path / "empty").refused("authority", "status")


def test_services_are_admitted_and_revoked_by_name(shell: Shell) -> None:
    assert "spiffe://demo/service/label-desk is admitted" in shell("services", "enrol", "label-desk")
    shell("services", "revoke", "label-desk", "--reason", "stolen key")
    assert shell.entries("services")["label-desk"]["reason"] == "stolen key"
    assert "label-desk" in shell("services", "list")


def test_the_authority_is_renewed_step_by_step(shell: Shell) -> None:
    shell("vehicles", "enrol", "VIN1")
    assert "issues certificates" in shell("authority", "status")
    assert "prepare it first" in shell.refused("authority", "switch")
    shell("authority", "prepare")
    assert "`fleetloop authority switch` comes next" in shell("authority", "status")
    shell("authority", "switch")
    assert "needs a new certificate: spiffe://demo/vehicle/VIN1" in shell("authority", "status")
    assert "VIN1 still have certificates of the former authority" in shell.refused("authority", "retire")
    shell("vehicles", "enrol", "VIN1")
    assert "`fleetloop authority retire` comes next" in shell("authority", "status")
    shell("authority", "retire")
    assert "still trusted" not in shell("authority", "status")
