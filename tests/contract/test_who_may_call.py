"""Who may call what: the whole table of roles, services and vehicles by method, and no call that is not in it.

The table is written down here a second time, so that a change of config/access.yaml is a change of both.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fleetloop.domain.access import all_methods, load_access
from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.process.settings import SettingsError
from fleetloop.kit.refusal import PermissionDeniedError
from fleetloop.kit.security.identity import Identity

ROOT = Path(__file__).parents[2]
POLICY = load_access(ROOT / "config")
ROLES = ("labeller", "lead", "ml-engineer", "release-manager", "operator", "subscriber")
# One column per role in the order above (L, l, M, R, O, S), then services, then V for vehicles.
TABLE = """
fleet.archive.v1.ArchiveService/GetArchive           --M-O-
fleet.campaign.v1.CampaignService/ApplyCampaign      --M---
fleet.campaign.v1.CampaignService/SetCampaignState   --MRO-
fleet.campaign.v1.CampaignService/ListCampaigns      -lMRO-
fleet.campaign.v1.CampaignService/ResumeTrigger      --M-O-
fleet.campaign.v1.CampaignService/ListRevisions      -lMRO-
fleet.campaign.v1.CampaignService/ReportInForce      ------ trigger-detector
fleet.campaign.v1.CampaignService/GetInForce         -lMRO-
fleet.campaign.v1.CampaignService/GetLedger          -lMRO-
fleet.dataset.v1.DatasetService/ImportDataset        --M---
fleet.dataset.v1.DatasetService/ListVersions         -lMRO-
fleet.dataset.v1.DatasetService/DiffVersions         -lMRO-
fleet.dataset.v1.DatasetService/RetractRows          --M---
fleet.dataset.v1.DatasetService/ReadmitRows          --M---
fleet.dataset.v1.DatasetService/GetCuration          -lMRO-
fleet.detect.v1.DetectorService/GetDetector          --M-O-
fleet.label.v1.LabelService/LeaseTask                Ll----
fleet.label.v1.LabelService/GetTaskFrames            LlM-O-
fleet.label.v1.LabelService/SubmitLabel              Ll----
fleet.label.v1.LabelService/UndoLabel                Ll----
fleet.label.v1.LabelService/ReleaseTask              Ll----
fleet.label.v1.LabelService/GetProgress              LlMRO-
fleet.label.v1.LabelService/GetAgreement             -lMRO-
fleet.monitor.v1.MonitorService/CompareCohorts       --MRO-
fleet.monitor.v1.MonitorService/ListVehicles         --MRO-
fleet.rollout.v1.ModelService/WatchModels            --MROS
fleet.rollout.v1.ModelService/ListModels             --MROS
fleet.rollout.v1.ModelService/FetchMetadata          --MROS V
fleet.rollout.v1.ModelService/FetchTarget            --MROS V
fleet.rollout.v1.RolloutService/ListRollouts         --MRO-
fleet.rollout.v1.RolloutService/GetRollout           --MRO-
fleet.rollout.v1.RolloutService/RollBack             ---RO-
fleet.rollout.v1.RolloutService/ApproveRelease       ---R--
fleet.rollout.v1.RolloutService/RetryRollout         ---R--
fleet.rollout.v1.RolloutService/PauseRollout         ---RO-
fleet.rollout.v1.RolloutService/ResumeRollout        ---R--
fleet.rollout.v1.RolloutService/AbortRollout         ---RO-
fleet.rollout.v1.RolloutService/StopRollouts         ---RO-
fleet.rollout.v1.RolloutService/ResumeRollouts       ---R--
fleet.route.v1.RouteService/ListFirings              -lM-O-
fleet.route.v1.RouteService/CountFirings             -lMRO- campaign-keeper
fleet.telemetry.v1.TelemetryService/StreamTelemetry  ------ V
fleet.telemetry.v1.TelemetryService/ReportHealth     ------ V
fleet.telemetry.v1.TelemetryService/UploadClip       ------ V
fleet.telemetry.v1.TelemetryService/GetUpload        ------ V
fleet.telemetry.v1.TelemetryService/StreamCommands   ------ V
fleet.training.v1.TrainingService/StartRun           --M---
fleet.training.v1.TrainingService/ListRuns           --MRO-
fleet.training.v1.TrainingService/WatchRun           --MRO-
fleet.training.v1.TrainingService/GetReport          --MRO-
fleet.training.v1.TrainingService/SignModels         ------ rollout-controller
"""
ROWS = {method: (marks, others) for method, marks, *others in map(str.split, TABLE.strip().splitlines())}
METHODS = [f"{service}/{method}" for service, methods in all_methods().items() for method in methods]
PERSON, VEHICLE = Identity("demo", "user", "ann"), Identity("demo", "vehicle", "car-1")
LABELS = [*(entry.label for entry in SERVICES), "other", "insecure"]


def test_the_table_has_every_method_there_is() -> None:
    assert sorted(ROWS) == sorted(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_only_for_the_callers_in_the_table(method: str) -> None:
    marks, others = ROWS[method]
    for role, mark in zip(ROLES, marks, strict=True):
        assert POLICY.permits(PERSON, [role], f"/{method}") is (mark != "-"), role
    for label in LABELS:
        assert POLICY.permits(Identity("demo", "service", label), (), f"/{method}") is (label in others), label
    assert POLICY.permits(VEHICLE, (), f"/{method}") is ("V" in others)


@pytest.mark.parametrize("method", METHODS)
def test_a_role_is_of_people_only_and_a_person_without_one_may_do_nothing(method: str) -> None:
    assert not POLICY.permits(PERSON, (), f"/{method}")
    assert not POLICY.permits(PERSON, ["king"], f"/{method}")
    for who in (Identity("demo", "service", "other"), VEHICLE):
        assert POLICY.permits(who, ROLES, f"/{method}") is (who == VEHICLE and "V" in ROWS[method][1])


def test_roles_add_up_and_take_nothing_away() -> None:
    for method, (marks, _) in ROWS.items():
        assert POLICY.permits(PERSON, ROLES, f"/{method}") is (marks != "------")


@pytest.mark.parametrize("method", ["fleet.label.v1.LabelService/Anything", "fleet.labelx.v1.LabelService/LeaseTask"])
def test_a_method_that_no_rule_names_is_for_no_caller(method: str) -> None:
    for who in (PERSON, VEHICLE, Identity("demo", "service", "fleet-console")):
        assert not POLICY.permits(who, ROLES, f"/{method}")


def test_only_the_console_speaks_for_others() -> None:
    assert [label for label in LABELS if POLICY.may_speak(Identity("demo", "service", label))] == ["fleet-console"]
    assert not POLICY.may_speak(Identity("demo", "user", "fleet-console"))
    assert not POLICY.may_speak(Identity("demo", "vehicle", "fleet-console"))


def test_every_service_that_the_policy_names_is_a_service_of_ours() -> None:
    named = {label for rule in POLICY.methods.values() for label in rule.services} | set(POLICY.speakers)
    assert named <= {entry.label for entry in SERVICES}
    assert tuple(POLICY.roles) == ROLES


def test_a_refusal_says_which_role_is_missing_and_who_gives_it() -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        POLICY.check(PERSON, ["labeller"], "/fleet.rollout.v1.RolloutService/RollBack")
    assert str(caught.value) == (
        "user/ann may not call /fleet.rollout.v1.RolloutService/RollBack: it needs the role release-manager or "
        "operator, and ann has only labeller; an operator gives roles with `fleetloop users roles ann --add ROLE`"
    )


@pytest.mark.parametrize(
    ("changed", "removed", "field"),
    [
        ({"fleet.label.v1.LabelService/Lease": {"roles": ["lead"]}}, "", "LabelService has no such method"),
        ({"fleet.labels.v1.LabelService/*": {}}, "", "fleet.labels.v1.LabelService/*: there is no such service"),
        ({"LeaseTask": {}}, "", "methods.LeaseTask: there is no such service"),
        ({}, "fleet.label.v1.LabelService/LeaseTask", "fleet.label.v1.LabelService/LeaseTask has no entry"),
        ({}, "fleet.telemetry.v1.TelemetryService/*", "fleet.telemetry.v1.TelemetryService/UploadClip has no entry"),
        (
            {"fleet.label.v1.LabelService/LeaseTask": {"roles": ["labeler"]}}, "",
            "methods.fleet.label.v1.LabelService/LeaseTask.roles: there is no role 'labeler'",
        ),
        (
            {"fleet.label.v1.LabelService/LeaseTask": {"services": ["service/*"]}}, "",
            "methods.fleet.label.v1.LabelService/LeaseTask.services: 'service/*' is no name",
        ),
        ({"fleet.label.v1.LabelService/LeaseTask": {"role": ["lead"]}}, "", "LeaseTask.role: Extra inputs"),
        ({"fleet.label.v1.LabelService/LeaseTask": {"roles": "lead"}}, "", "LeaseTask.roles: Input should be"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_the_name_of_its_field(
    tmp_path: Path, changed: dict[str, object], removed: str, field: str
) -> None:
    content = yaml.safe_load((ROOT / "config" / "access.yaml").read_text())
    content["methods"].update(changed)
    content["methods"].pop(removed, None)
    (tmp_path / "access.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SettingsError) as caught:
        load_access(tmp_path)
    assert field in str(caught.value)
    assert str(tmp_path / "access.yaml") in str(caught.value)


def test_an_own_entry_of_a_method_replaces_that_of_its_service(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "config" / "access.yaml").read_text())
    content["methods"]["fleet.telemetry.v1.TelemetryService/UploadClip"] = {}
    (tmp_path / "access.yaml").write_text(yaml.safe_dump(content))
    policy = load_access(tmp_path)
    assert not policy.permits(VEHICLE, (), "/fleet.telemetry.v1.TelemetryService/UploadClip")
    assert policy.permits(VEHICLE, (), "/fleet.telemetry.v1.TelemetryService/GetUpload")
