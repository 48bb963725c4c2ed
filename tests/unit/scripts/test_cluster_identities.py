"""What the script prints is what the chart's pods need: certificates that clients accept, and who is admitted."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from scripts.cluster_identities import manifests

from fleetloop.api.authority import Authority
from fleetloop.api.enrolment import Enrolment
from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.messaging.signatures import public_text
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.security.certificates import load_certificate, server_name
from fleetloop.kit.security.identity import Identity, IdentityKind
from fleetloop.layout import RunLayout
from fleetloop.shipped import topic_catalogue

NOW = datetime.now(UTC)


def printed(layout: RunLayout, *, cert_manager: bool = False) -> dict[str, dict[str, Any]]:
    objects = manifests(layout, "demo", "fleet", "ns", ["vehicles.example.org"], cert_manager, NOW)
    return {each["metadata"]["name"]: each for each in objects}


def admitted(objects: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    entries = json.loads(objects["fleet-admission"]["data"]["admission.json"])["admitted"]
    return {each["spiffe_id"]: each for each in entries}


def test_each_component_has_the_name_that_clients_verify(tmp_path: Path) -> None:
    objects = printed(RunLayout.at(tmp_path))
    for entry in SERVICES:
        secret = objects[f"fleet-{entry.label}-tls"]["data"]
        certificate = load_certificate(b64decode(secret["tls.crt"]))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = names.get_values_for_type(x509.DNSName)
        assert server_name(Identity("demo", IdentityKind.SERVICE, entry.label)) in hosts
        assert f"fleet-{entry.label}" in hosts


def test_every_component_is_admitted_also_with_cert_manager_and_a_revoked_one_stays_revoked(tmp_path: Path) -> None:
    layout = RunLayout.at(tmp_path)
    for cert_manager in (False, True):
        found = admitted(printed(layout, cert_manager=cert_manager))
        assert set(found) == {f"spiffe://demo/service/{entry.label}" for entry in SERVICES}
        assert {each["serial"] for each in found.values()} == {""}, "whatever certificate its issuer renews"
    Enrolment(layout, "demo").revoke("label-desk", kind=IdentityKind.SERVICE, now=NOW)
    Enrolment(layout, "demo").enrol("VIN1", now=NOW)
    found = admitted(printed(layout))
    assert found["spiffe://demo/service/label-desk"]["revoked"]
    assert "spiffe://demo/vehicle/VIN1" in found


def test_owners_of_signed_topics_have_keys_that_the_printed_trust_knows(tmp_path: Path) -> None:
    objects = printed(RunLayout.at(tmp_path))
    trust = yaml.safe_load(objects["fleet-event-trust"]["data"]["event-trust.yaml"])
    for topic in load_topics(topic_catalogue()).values():
        if topic.signed:
            pem = b64decode(objects[f"fleet-{topic.owner}-event-key"]["data"]["event.pem"])
            key = load_pem_private_key(pem, None)
            assert isinstance(key, Ed25519PrivateKey)
            assert trust[topic.name] == [public_text(key)]
    assert printed(RunLayout.at(tmp_path))["fleet-event-trust"] == objects["fleet-event-trust"]


def test_both_authorities_are_trusted_during_a_renewal(tmp_path: Path) -> None:
    layout = RunLayout.at(tmp_path)

    def trusted() -> int:
        return b64decode(printed(layout)["fleet-label-desk-tls"]["data"]["ca.crt"]).count(b"BEGIN CERTIFICATE")

    assert trusted() == 1
    Authority(layout, "demo", NOW).prepare()
    assert trusted() == 2
    Authority(layout, "demo", NOW).switch()
    assert trusted() == 2
    Authority(layout, "demo", NOW).retire()
    assert trusted() == 1
