"""The chart renders every service from one template, as Kubernetes and Helm at their strictest would have it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fleetloop.services import SERVICES

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fleetloop"
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
CUSTOM = {"ServiceMonitor", "PrometheusRule", "Certificate"}
ALL_ON = [
    *("--set", "metrics.serviceMonitor.enabled=true"),
    *("--set", "metrics.rules.enabled=true"),
    *("--set", "tls.certManagerIssuer=fleet-ca"),
    *("--set", "kafka.authentication=true"),
    *("--set", "database.existingSecret=databases"),
    *("--set", "configMap=fleet-config"),
    *("--set", "objectsVolume.existingClaim=objects"),
]


def rendered(*options: str) -> list[dict[str, Any]]:
    command = ["helm", "template", "fleet", str(CHART), *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def test_every_service_is_a_component_and_nothing_else_is() -> None:
    components = yaml.safe_load((CHART / "values.yaml").read_text())["components"]
    assert set(components) == {entry.label for entry in SERVICES}


@needs_helm
def test_helm_lints_it_strictly() -> None:
    for options in ([], ALL_ON):
        done = subprocess.run(["helm", "lint", "--strict", str(CHART), *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize("options", [[], ALL_ON], ids=["defaults", "everything on"])
def test_every_object_is_valid_to_the_field(options: list[str]) -> None:
    objects = rendered(*options)
    assert {o["metadata"]["name"] for o in objects if o["kind"] in ("Deployment", "StatefulSet")} == {
        f"fleet-{entry.label}" for entry in SERVICES
    }
    for each in objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, "1.34", strict=True)


@needs_helm
def test_only_those_who_sign_hold_a_key() -> None:
    holders = {}
    for each in rendered():
        if each["kind"] == "StatefulSet":
            volumes = each["spec"]["template"]["spec"]["volumes"]
            keys = [item["key"] for v in volumes if v["name"] == "signing" for item in v["secret"]["items"]]
            if keys:
                holders[each["metadata"]["name"]] = keys
    assert holders == {
        "fleet-training-orchestrator": ["orchestrator.pem"],
        "fleet-rollout-controller": ["rollout.pem"],
    }


@needs_helm
def test_no_container_runs_as_root_or_writes_its_image() -> None:
    for each in rendered():
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            pod = each["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            for container in pod["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["resources"]["limits"]["memory"]


@needs_promtool
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    rules = ROOT / "tests" / "chart" / "alerts_test.yaml"
    done = subprocess.run(["promtool", "test", "rules", str(rules)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
def test_the_chart_ships_the_rules_that_were_tested() -> None:
    (rule,) = [o for o in rendered(*ALL_ON) if o["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((CHART / "alerts.yaml").read_text())
