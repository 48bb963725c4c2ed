"""Print the identities of an installation on Kubernetes as manifests, for `kubectl apply -f -`.

python scripts/cluster_identities.py --dir identities --fleet demo --release fleet --namespace fleetloop

In --dir, on a secure machine, it opens or creates the fleet's certificate authority and holds the signing ceremony.
The manifests are a certificate for each component with the host names that the chart gives it, the two online signing
keys, the keys that sign events, the trust that vehicles are installed with, and the list of admitted vehicles, people
and services. Run it again
after `fleetloop vehicles enrol ... --dir` or `fleetloop users ...`. With --cert-manager it prints no certificates but
the authority as the secret of a CA issuer. A repetition changes only certificates in the last third of their life.
"""

from __future__ import annotations

import argparse
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from fleetloop.api.enrolment import Enrolment
from fleetloop.embedded.ceremony import hold_ceremony
from fleetloop.embedded.event_keys import TRUST_FILE, create_event_keys
from fleetloop.embedded.service_table import SERVICES
from fleetloop.embedded.trust_renewal import complete_renewal
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import CertificateAuthority
from fleetloop.layout import RunLayout
from fleetloop.shipped import topic_catalogue

_SPEAK_TO_VEHICLES = ("telemetry-gateway", "rollout-controller")


def cluster_names(release: str, namespace: str, component: str) -> list[str]:
    """Return the host names of a component in a cluster; localhost is for `kubectl port-forward`."""
    name = f"{release}-{component}"
    in_namespace = f"{name}.{namespace}"
    return [name, in_namespace, f"{in_namespace}.svc", f"{in_namespace}.svc.cluster.local", "localhost", "127.0.0.1"]


def manifests(
    layout: RunLayout,
    fleet: str,
    release: str,
    namespace: str,
    hosts: Sequence[str],
    cert_manager: bool,
    now: datetime,
) -> Iterator[dict[str, Any]]:
    """Yield the manifests. `hosts` are the host names that vehicles use. Raises PkiError for a bad name or folder."""

    def named(kind: str, name: str, data: dict[str, str]) -> dict[str, Any]:
        if kind == "Secret":
            data = {key: b64encode(value.encode()).decode() for key, value in data.items()}
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "data": data}

    authority = CertificateAuthority.open(layout.identities / "authority", fleet=fleet, now=now)
    if cert_manager:
        key = (authority.ca_path.parent / "ca.key").read_text()
        yield named("Secret", f"{release}-ca", {"tls.crt": authority.ca_path.read_text(), "tls.key": key})
        yield {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Issuer",
            "metadata": {"name": f"{release}-ca", "namespace": namespace},
            "spec": {"ca": {"secretName": f"{release}-ca"}},
        }
    for entry in () if cert_manager else SERVICES:
        outside = hosts if entry.label in _SPEAK_TO_VEHICLES else ()
        names = [*cluster_names(release, namespace, entry.label), *outside]
        folder = layout.identities / "cluster" / namespace / release / entry.label
        issued = authority.issue(IdentityKind.SERVICE, entry.label, folder, now=now, hosts=names)
        files = {"ca.crt": issued.ca, "tls.crt": issued.cert, "tls.key": issued.key}
        yield named(
            "Secret", f"{release}-{entry.label}-tls", {name: path.read_text() for name, path in files.items()}
        )
    complete_renewal(layout.signing)
    trust = hold_ceremony(layout.signing, now)
    online = {path.name: path.read_text() for path in (trust.orchestrator_key, trust.rollout_key)}
    yield named("Secret", f"{release}-signing", online)
    files = {f"{path.parent.name}.{path.name}": path for path in trust.folder.glob("*/*.json")}
    yield named("ConfigMap", f"{release}-trust", {name: path.read_text() for name, path in sorted(files.items())})
    events = create_event_keys(layout.event_keys, load_topics(topic_catalogue()))
    for owner, path in events.keys.items():
        yield named("Secret", f"{release}-{owner}-event-key", {"event.pem": path.read_text()})
    yield named("ConfigMap", f"{release}-event-trust", {TRUST_FILE: events.trust.read_text()})
    enrolment = Enrolment(layout, fleet)
    known = {each.spiffe_id for each in enrolment.entries(IdentityKind.SERVICE)}
    for entry in SERVICES:  # one that was revoked stays revoked
        if Identity(fleet, IdentityKind.SERVICE, entry.label).uri not in known:
            enrolment.enrol_service(entry.label, now=now)
    yield named("ConfigMap", f"{release}-admission", {"admission.json": layout.admission_list.read_text()})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--dir", type=Path, required=True, help="folder of the authority, the ceremony and the admission list"
    )
    parser.add_argument("--fleet", default="demo", help="fleetId of the chart")
    parser.add_argument("--release", default="fleet", help="name of the Helm release")
    parser.add_argument("--namespace", default="default", help="namespace of the release")
    parser.add_argument("--host", action="append", default=[], help="host name that vehicles use; may be repeated")
    parser.add_argument("--cert-manager", action="store_true", help="print the issuer's secret, no certificates")
    said = parser.parse_args()
    layout = RunLayout.at(said.dir)
    try:
        objects = list(
            manifests(
                layout, said.fleet, said.release, said.namespace, said.host, said.cert_manager, datetime.now(UTC)
            )
        )
    except PkiError as error:
        sys.exit(f"{error}.")
    yaml.safe_dump_all(objects, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
