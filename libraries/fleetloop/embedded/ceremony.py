"""The signing ceremony: create the offline keys, the online keys, and the trust that vehicles are provisioned with.

There are two TUF repositories. In the models repository, the root is signed by two of three offline keys, so that one
may be lost, and the top-level targets by two of two. Targets delegate `models/*/*` to a threshold of two online keys,
the orchestrator's and the rollout controller's, so that no single service can release a model and the loop needs no
person. The director's root is offline too; all its other roles use the rollout controller's key.

An embedded run holds its ceremony in its own folder, where the offline keys are not offline; a file beside them says
so. A real fleet calls `hold_ceremony` on a machine that is then disconnected (docs/kubernetes.md), and copies the
online keys and the trust folder from it. `trust_renewal.py` renews what was signed here.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, Role, Root, Targets

from fleetloop.kit.security.signing import make_key

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
LIFE = timedelta(days=365)
MODELS_ROLE, MODELS_PATHS = "models", ["models/*/*"]
_WARNING = (
    "These keys can replace every other key of the fleet. Keep them off every connected machine: move this folder\n"
    "to separate offline stores, at most one root key in each, and delete it here.\n"
    "Only an embedded run for trying things out may leave them.\n"
)


@dataclass(frozen=True, slots=True)
class Trust:
    """The files that a ceremony creates."""

    orchestrator_key: Path
    rollout_key: Path
    folder: Path
    """Folder with the public files models/1.root.json, models/1.targets.json and director/1.root.json."""


def hold_ceremony(folder: Path, now: datetime) -> Trust:
    """Create keys and trust below `folder`. Idempotent: an existing trust folder is kept.

    Args:
        folder: Where offline/, online/ and trust/ are created.
        now: The current time; metadata is valid for a year from it.
    """
    trust = Trust(folder / "online" / "orchestrator.pem", folder / "online" / "rollout.pem", folder / "trust")
    if trust.folder.exists():
        return trust
    offline = folder / "offline"
    roots = [make_key(offline / f"root-{number}.pem") for number in range(1, ROOT_KEYS + 1)]
    targets = [make_key(offline / f"targets-{number}.pem") for number in (1, 2)]
    (offline / "READ_ME_FIRST.txt").write_text(_WARNING)
    orchestrator, rollout = make_key(trust.orchestrator_key), make_key(trust.rollout_key)
    expires = (now + LIFE).replace(microsecond=0)
    draft = folder / "trust.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    files = {
        "models/1.root.json": _root(roots, targets, ROOT_THRESHOLD, rollout, expires),
        "models/1.targets.json": _targets(targets, orchestrator, rollout, expires),
        "director/1.root.json": _root(roots, [rollout], 1, rollout, expires),
    }
    for name, content in files.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(content)
    draft.rename(trust.folder)
    return trust


def _root(
    roots: list[CryptoSigner],
    targets: list[CryptoSigner],
    targets_threshold: int,
    online: CryptoSigner,
    expires: datetime,
) -> bytes:
    keys: dict[str, Key] = {s.public_key.keyid: s.public_key for s in (*roots, *targets, online)}
    roles = {
        "root": Role([s.public_key.keyid for s in roots], ROOT_THRESHOLD),
        "targets": Role([s.public_key.keyid for s in targets], targets_threshold),
        "snapshot": Role([online.public_key.keyid], 1),
        "timestamp": Role([online.public_key.keyid], 1),
    }
    metadata = Metadata(Root(version=1, expires=expires, keys=keys, roles=roles, consistent_snapshot=True))
    for signer in roots:
        metadata.sign(signer, append=True)
    content: bytes = metadata.to_bytes()
    return content


def _targets(
    signers: list[CryptoSigner], orchestrator: CryptoSigner, rollout: CryptoSigner, expires: datetime
) -> bytes:
    online: dict[str, Key] = {s.public_key.keyid: s.public_key for s in (orchestrator, rollout)}
    role = DelegatedRole(MODELS_ROLE, list(online), threshold=2, terminating=True, paths=MODELS_PATHS)
    metadata = Metadata(Targets(version=1, expires=expires, delegations=Delegations(online, {MODELS_ROLE: role})))
    for signer in signers:
        metadata.sign(signer, append=True)
    content: bytes = metadata.to_bytes()
    return content
