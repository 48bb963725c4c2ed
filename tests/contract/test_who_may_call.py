"""Who may call what: the complete table, which allows nothing else.

People (`user/*`) operate the loop; the console reads for the people in front of it and labels in their name; services
call only what their own clients call. No caller may use a new method until it is listed here.
"""

from __future__ import annotations

import importlib

import pytest
from google.protobuf import descriptor_pool

from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.security.identity import AllowList, Identity

PEOPLE, CONSOLE, VEHICLES = "user/ann", "service/fleet-console", "vehicle/car-1"
ROLLOUT, KEEPER = "service/rollout-controller", "service/campaign-keeper"
TABLE = {
    "telemetry_gateway": {
        "fleet.telemetry.v1.TelemetryService": {
            "StreamTelemetry": {VEHICLES},
            "ReportHealth": {VEHICLES},
            "UploadClip": {VEHICLES},
            "GetUpload": {VEHICLES},
            "StreamCommands": {VEHICLES},
        }
    },
    "trigger_detector": {"fleet.detect.v1.DetectorService": {"GetDetector": {PEOPLE, CONSOLE, KEEPER}}},
    "telemetry_archiver": {"fleet.archive.v1.ArchiveService": {"GetArchive": {PEOPLE, CONSOLE}}},
    "label_router": {
        "fleet.route.v1.RouteService": {"ListFirings": {PEOPLE}, "CountFirings": {PEOPLE, CONSOLE, KEEPER}}
    },
    "label_desk": {
        "fleet.label.v1.LabelService": {
            "LeaseTask": {PEOPLE, CONSOLE},
            "GetTaskFrames": {PEOPLE, CONSOLE},
            "SubmitLabel": {PEOPLE, CONSOLE},
            "UndoLabel": {PEOPLE, CONSOLE},
            "ReleaseTask": {PEOPLE, CONSOLE},
            "GetProgress": {PEOPLE, CONSOLE},
        }
    },
    "dataset_curator": {
        "fleet.dataset.v1.DatasetService": {
            "ImportDataset": {PEOPLE},
            "ListVersions": {PEOPLE, CONSOLE},
            "DiffVersions": {PEOPLE},
        }
    },
    "training_orchestrator": {
        "fleet.training.v1.TrainingService": {
            "StartRun": {PEOPLE},
            "ListRuns": {PEOPLE, CONSOLE},
            "WatchRun": {PEOPLE},
            "SignModels": {ROLLOUT},
        }
    },
    "fleet_monitor": {
        "fleet.monitor.v1.MonitorService": {
            "CompareCohorts": {PEOPLE, CONSOLE, ROLLOUT},
            "ListVehicles": {PEOPLE, CONSOLE},
        }
    },
    "rollout_controller": {
        "fleet.rollout.v1.ModelService": {
            "WatchModels": {PEOPLE},
            "ListModels": {PEOPLE, CONSOLE},
            "FetchMetadata": {VEHICLES, PEOPLE},
            "FetchTarget": {VEHICLES, PEOPLE},
        },
        "fleet.rollout.v1.RolloutService": {"ListRollouts": {PEOPLE, CONSOLE}, "RollBack": {PEOPLE}},
    },
}
EVERYBODY = [PEOPLE, VEHICLES, *(f"service/{entry.label}" for entry in SERVICES), "service/other"]


def allow_list(package: str) -> AllowList:
    return AllowList("demo", importlib.import_module(f"{package}.rpc").ALLOWED)


@pytest.mark.parametrize("package", TABLE)
def test_each_method_is_for_those_in_the_table_and_nobody_else(package: str) -> None:
    permits = allow_list(package).permits
    for service, methods in TABLE[package].items():
        for method, wanted in methods.items():
            allowed = {who for who in EVERYBODY if permits(Identity("demo", *who.split("/")), f"/{service}/{method}")}
            assert allowed == wanted, method
            assert not permits(Identity("foreign", "user", "ann"), f"/{service}/{method}")


@pytest.mark.parametrize("package", TABLE)
def test_the_table_has_every_method_there_is(package: str) -> None:
    importlib.import_module(f"{package}.rpc")  # registers its protos
    for service, methods in TABLE[package].items():
        known = descriptor_pool.Default().FindServiceByName(service).methods
        assert {method.name for method in known} == methods.keys()


@pytest.mark.parametrize("package", TABLE)
def test_a_method_that_no_rule_names_is_for_nobody(package: str) -> None:
    for service in TABLE[package]:
        for who in EVERYBODY:
            allowed = allow_list(package).permits(Identity("demo", *who.split("/")), f"/{service}x/Anything")
            assert not allowed, who


def test_a_vehicle_steers_no_campaign_and_a_service_changes_none() -> None:
    """The keeper's own list; its tests hold the rest."""
    permits, service = allow_list("campaign_keeper").permits, "fleet.campaign.v1.CampaignService"
    for method in descriptor_pool.Default().FindServiceByName(service).methods:
        assert not permits(Identity("demo", "vehicle", "car-1"), f"/{service}/{method.name}")
    for changing in ("ApplyCampaign", "SetCampaignState"):
        for entry in SERVICES:
            if entry.label != "fleet-console":
                assert not permits(Identity("demo", "service", entry.label), f"/{service}/{changing}")


def test_every_service_with_methods_is_in_the_table() -> None:
    assert {*TABLE, "campaign_keeper", "fleet_console"} == {entry.package for entry in SERVICES}
