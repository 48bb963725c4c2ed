"""The chart renders every service from one template, as Kubernetes and Helm at their strictest would have it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.security.certificates import server_name
from fleetloop.kit.security.identity import Identity, IdentityKind

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fleetloop"
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
CUSTOM = {"ServiceMonitor", "PrometheusRule", "Certificate"}
ALL_ON = [
    *("--set", "metrics.serviceMonitor.enabled=true"),
    *("--set", "metrics.rules.enabled=true"),
    *("--set", "tls.certManagerIssuer=fleet-ca"),
    *("--set", "kafka.caSecret=kafka-ca"),
    *("--set", "database.existingSecret=databases"),
    *("--set-string", r"config.routing\.yaml=projects: {}"),
    *("--set-string", r"config.recipes/mine\.yaml=steps: 1"),
    *("--set", "objectsVolume.existingClaim=objects"),
    *("--set", "console.oidc.issuer=https://login.example.org"),
    *("--set", "console.oidc.clientId=fleet-console"),
    *("--set", "console.oidc.clientSecret=fleet-console-oidc"),
    *("--set-json", 'console.oidc.groups={"labelling-team": ["labeller"]}'),
    *("--set", "console.origin=https://fleet.example.org"),
    *("--set", "console.ingress.enabled=true"),
    *("--set", "console.ingress.host=fleet.example.org"),
    *("--set", "console.ingress.tlsSecret=fleet-page"),
    *("--set", "components.telemetry-gateway.outside.type=LoadBalancer"),
    *("--set", "components.telemetry-gateway.hosts={vehicles.example.org}"),
    *("--set", "networkPolicy.pagesFrom[0].namespaceSelector.matchLabels.name=sign-on"),
]
WITH_OBJECTS = {
    *("telemetry-gateway", "telemetry-archiver", "label-desk"),
    *("dataset-curator", "training-orchestrator", "rollout-controller"),
}


def helm_template(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["helm", "template", "fleet", str(CHART), *options], capture_output=True, text=True)


def rendered(*options: str) -> list[dict[str, Any]]:
    done = helm_template(*options)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def workloads(*options: str) -> dict[str, dict[str, Any]]:
    """Pod specifications of the components, by component."""
    return {
        each["metadata"]["name"].removeprefix("fleet-"): each["spec"]["template"]["spec"]
        for each in rendered(*options)
        if each["kind"] in ("Deployment", "StatefulSet")
    }


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    """Variables of a pod's only container, by name."""
    (container,) = pod["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


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
def test_owners_of_signed_topics_hold_their_own_key_and_every_reader_the_trust() -> None:
    owners = {topic.owner for topic in load_topics(ROOT / "protos" / "topics.yaml").values() if topic.signed}
    for name, pod in workloads().items():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert ("event-key" in volumes) == (name in owners) == ("FLEETLOOP_EVENT_KEY" in environment(pod))
        if name in owners:
            assert volumes["event-key"]["secret"]["secretName"] == f"fleet-{name}-event-key"
        assert ("FLEETLOOP_EVENT_TRUST" in environment(pod)) == ("FLEETLOOP_KAFKA_USERNAME" in environment(pod))
        assert ("event-trust" in volumes) == ("FLEETLOOP_EVENT_TRUST" in environment(pod))


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


@needs_helm
def test_a_container_is_told_which_service_it_is_and_they_share_one_image() -> None:
    pods = workloads()
    containers = {name: pod["containers"][0] for name, pod in pods.items()}
    assert {name: each["args"] for name, each in containers.items()} == {
        entry.label: [entry.package] for entry in SERVICES
    }
    images = {name: each["image"].partition(":")[0] for name, each in containers.items()}
    assert images.pop("training-orchestrator") == "fleetloop-training"
    assert set(images.values()) == {"fleetloop"}


@needs_helm
def test_objects_on_a_volume_are_the_same_for_all_and_outlive_the_release() -> None:
    """An emptyDir each would let every component see an object store of its own."""
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in workloads().values()
        for volume in pod["volumes"]
        if volume["name"] == "objects"
    }
    assert claims == {"fleet-objects"}
    (claim,) = [o for o in rendered() if o["kind"] == "PersistentVolumeClaim"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    mounts = {
        name: mount["readOnly"]
        for name, pod in workloads().items()
        for mount in pod["containers"][0]["volumeMounts"]
        if mount["name"] == "objects"
    }
    assert mounts == {name: name == "label-desk" for name in WITH_OBJECTS}
    in_a_bucket = workloads("--set", "objectsUrl=s3://fleet/objects")
    assert not any(volume["name"] == "objects" for pod in in_a_bucket.values() for volume in pod["volumes"])


@needs_helm
def test_who_speaks_to_kafka_has_a_user_and_the_brokers_authority() -> None:
    options = ("--set", "kafka.caSecret=kafka-ca")
    for name, pod in workloads(*options).items():
        said = environment(pod)
        assert said["FLEETLOOP_KAFKA_PASSWORD"]["secretKeyRef"]["name"] == f"fleet-{name}-kafka"
        assert said["FLEETLOOP_KAFKA_CA"] == "/kafka/ca.crt"
    (job,) = [o for o in rendered(*options) if o["kind"] == "Job" and o["metadata"]["name"] == "fleet-topics"]
    said = environment(job["spec"]["template"]["spec"])
    assert said["FLEETLOOP_KAFKA_USERNAME"]["secretKeyRef"] == {"name": "fleet-topics-kafka", "key": "username"}
    strimzi = workloads(*options, "--set", "kafka.usersByStrimzi=true")
    assert environment(strimzi["label-desk"])["FLEETLOOP_KAFKA_USERNAME"] == "fleet-label-desk-kafka"


@needs_helm
def test_kafka_is_open_only_by_a_value_that_says_so() -> None:
    users = [name for name, pod in workloads().items() if "FLEETLOOP_KAFKA_USERNAME" in environment(pod)]
    assert set(users) == {entry.label for entry in SERVICES}
    opened = workloads("--set", "kafka.authentication=anyone-may-read-and-write-every-topic")
    assert not any("FLEETLOOP_KAFKA_USERNAME" in environment(pod) for pod in opened.values())


@needs_helm
def test_a_component_gets_only_its_own_credentials_and_only_where_it_needs_them() -> None:
    options = (
        "--set",
        "objectsSecrets=true",
        "--set",
        "objectsUrl=s3://fleet",
        "--set",
        "database.existingSecret=urls",
    )
    for name, pod in workloads(*options).items():
        (container,) = pod["containers"]
        expected = [{"secretRef": {"name": f"fleet-{name}-objects"}}] if name in WITH_OBJECTS else None
        assert container.get("envFrom") == expected
        database = environment(pod).get("FLEETLOOP_DATABASE_URL")
        assert (database is None) == (not (ROOT / "services" / name.replace("-", "_") / "migrations").exists())
        assert database is None or database["secretKeyRef"]["key"] == name


@needs_helm
def test_an_edited_file_replaces_the_one_in_the_image_and_restarts_what_reads_it() -> None:
    def desk(text: str) -> dict[str, Any]:
        objects = rendered("--set-string", rf"config.recipes/mine\.yaml={text}")
        (config,) = [o for o in objects if o["kind"] == "ConfigMap"]
        assert config["data"] == {"recipes--mine.yaml": text}
        (found,) = [
            o["spec"]["template"]
            for o in objects
            if o["metadata"]["name"] == "fleet-label-desk" and o["kind"] == "StatefulSet"
        ]
        return dict(found)

    one, other = desk("steps: 1"), desk("steps: 2")
    mounts = [m for m in one["spec"]["containers"][0]["volumeMounts"] if m["name"] == "config"]
    assert [(m["mountPath"], m["subPath"]) for m in mounts] == [("/config/recipes/mine.yaml", "recipes--mine.yaml")]
    assert one["metadata"]["annotations"] != other["metadata"]["annotations"]


@needs_helm
def test_vehicles_reach_only_what_is_opened_to_them_and_no_metrics() -> None:
    objects = rendered(*ALL_ON)
    (outside,) = [o for o in objects if o["kind"] == "Service" and o["spec"].get("type") == "LoadBalancer"]
    assert outside["metadata"]["name"] == "fleet-telemetry-gateway-outside"
    assert [port["name"] for port in outside["spec"]["ports"]] == ["grpc"]
    policies = {o["metadata"]["name"]: o["spec"]["ingress"] for o in objects if o["kind"] == "NetworkPolicy"}
    assert set(policies) == {f"fleet-{entry.label}" for entry in SERVICES}
    open_to_all = {name for name, rules in policies.items() if any("from" not in rule for rule in rules)}
    assert open_to_all == {"fleet-telemetry-gateway"}
    names = {o["metadata"]["name"]: o["spec"]["dnsNames"] for o in objects if o["kind"] == "Certificate"}
    assert "vehicles.example.org" in names["fleet-telemetry-gateway"]
    assert "vehicles.example.org" not in names["fleet-label-desk"]


@needs_helm
def test_certificates_of_cert_manager_have_the_name_that_clients_verify() -> None:
    certificates = {o["metadata"]["name"]: o["spec"] for o in rendered(*ALL_ON) if o["kind"] == "Certificate"}
    fleet = certificates["fleet-label-desk"]["uris"][0].split("/")[2]
    for entry in SERVICES:
        expected = server_name(Identity(fleet, IdentityKind.SERVICE, entry.label))
        assert expected in certificates[f"fleet-{entry.label}"]["dnsNames"]


@needs_helm
def test_every_pod_has_the_admission_list_and_none_starts_without_it() -> None:
    for name, pod in workloads().items():
        (volume,) = [each for each in pod["volumes"] if each["name"] == "admission"]
        assert volume["configMap"] == {"name": "fleet-admission"}, name
        assert environment(pod)["FLEETLOOP_ADMISSION_LIST"] == "/admission/admission.json"


@needs_helm
def test_nobody_reaches_the_pages_unless_named() -> None:
    def page_rules(*options: str) -> list[dict[str, Any]]:
        (policy,) = [
            o
            for o in rendered(*options)
            if o["kind"] == "NetworkPolicy" and o["metadata"]["name"].endswith("console")
        ]
        return [rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "page"}]]

    assert page_rules() == []
    (rule,) = page_rules(*ALL_ON)
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"name": "sign-on"}}}]


@needs_helm
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["console.ingress.enabled=true", "console.ingress.host=fleet.example.org"], "console.oidc.issuer"),
        (["components.fleet-monitor.replicas=2"], "components.fleet-monitor.replicas"),
        (["kafka.authentication=false"], "authentication"),
        (["kafka.authentication=none"], "authentication"),
        (["objectsSecret=shared"], "objectsSecret"),
        (["kafka.bootstrapserver=kafka:9092"], "bootstrapserver"),
        (["components.label-desk.replica=2"], "replica"),
        (["volumesWhenUninstalled=Keep"], "volumesWhenUninstalled"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options: list[str], named: str) -> None:
    done = helm_template(*(word for option in options for word in ("--set", option)))
    assert done.returncode != 0
    assert named in done.stderr


@needs_helm
def test_every_service_is_asked_for_its_health() -> None:
    (job,) = [o for o in rendered() if o["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"]
    asked = [argument.partition("=")[0] for argument in job["spec"]["template"]["spec"]["containers"][0]["args"][1:]]
    assert sorted(asked) == sorted(entry.label for entry in SERVICES)


@needs_helm
def test_metrics_keep_the_label_that_alerts_ask_for() -> None:
    """Prometheus' operator calls the Kubernetes service `service` too, and would win."""
    (monitor,) = [o for o in rendered(*ALL_ON) if o["kind"] == "ServiceMonitor"]
    assert all(endpoint["honorLabels"] for endpoint in monitor["spec"]["endpoints"])
