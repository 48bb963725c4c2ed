"""TUF metadata as pure functions: the same files, versions and times always give the same bytes.

There are two repositories, as in Uptane. The models repository lists the models that exist: top-level targets, signed
offline, delegate `models/*/*` to a threshold of two online keys, the orchestrator's (which says that the model passed
its examination) and this service's. The director says what one vehicle is assigned to run, in one target,
assignment.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from fleetloop.domain.artifacts import sha256_hex
from fleetloop.kit.process.clock import utc_second
from rollout_controller.model import Assignment, ListedFile

MODELS_ROLE = "models"
ASSIGNMENT = "assignment.json"
LONG_LIFE = timedelta(days=365)
SHORT_LIFE = timedelta(days=7)


def _at(utc_ns: int) -> datetime:
    return utc_second(utc_ns)


def models_role(files: Sequence[ListedFile], version: int, signed_at_utc_ns: int) -> Metadata[Targets]:
    """The delegated role that lists every model, still unsigned."""
    targets = {
        file.path: TargetFile(file.size_bytes, {"sha256": file.sha256}, file.path)
        for file in sorted(files, key=lambda file: file.path)
    }
    return Metadata(Targets(version=version, expires=_at(signed_at_utc_ns) + LONG_LIFE, targets=targets))


def sign_models_role(
    role: Metadata[Targets], signer: CryptoSigner, cosignature: tuple[str, bytes]
) -> Metadata[Targets]:
    """Add our signature and the orchestrator's (key id, signature)."""
    role.sign(signer)
    key_id, signature = cosignature
    role.signatures[key_id] = Signature(key_id, signature.hex())
    return role


def snapshot_and_timestamp(
    files: Mapping[str, int], version: int, signed_at_utc_ns: int, signer: CryptoSigner
) -> tuple[bytes, bytes]:
    """snapshot.json, which lists each metadata file with its version, and timestamp.json, which points at it."""
    snapshot = Metadata(
        Snapshot(
            version=version,
            expires=_at(signed_at_utc_ns) + SHORT_LIFE,
            meta={name: MetaFile(number) for name, number in sorted(files.items())},
        )
    )
    snapshot.sign(signer)
    snapshot_bytes: bytes = snapshot.to_bytes()
    meta = MetaFile(version, len(snapshot_bytes), {"sha256": sha256_hex(snapshot_bytes)})
    timestamp = Metadata(Timestamp(version=version, expires=_at(signed_at_utc_ns) + SHORT_LIFE, snapshot_meta=meta))
    timestamp.sign(signer)
    return snapshot_bytes, timestamp.to_bytes()


def assignment_bytes(vehicle_id: str, assignment: Assignment, version: int) -> bytes:
    """The content of a vehicle's assignment.json."""
    content = {
        "vehicle_id": vehicle_id,
        "version": version,
        "active": assignment.active,
        "shadow": assignment.shadow,
        "rollout_id": assignment.rollout_id,
        "cohort": assignment.cohort.value,
    }
    return json.dumps(content, sort_keys=True).encode()


def director_files(
    vehicle_id: str, assignment: Assignment, version: int, signed_at_utc_ns: int, signer: CryptoSigner
) -> dict[str, bytes]:
    """All metadata of one vehicle's director except the root, by the names that an updater asks for."""
    content = assignment_bytes(vehicle_id, assignment, version)
    targets = Metadata(
        Targets(
            version=version,
            expires=_at(signed_at_utc_ns) + SHORT_LIFE,
            targets={ASSIGNMENT: TargetFile.from_data(ASSIGNMENT, content, ["sha256"])},
        )
    )
    targets.sign(signer)
    snapshot, timestamp = snapshot_and_timestamp({"targets.json": version}, version, signed_at_utc_ns, signer)
    return {
        f"{version}.targets.json": targets.to_bytes(),
        f"{version}.snapshot.json": snapshot,
        "timestamp.json": timestamp,
    }
