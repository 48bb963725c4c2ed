"""Renew what the signing ceremony signed: later expiry with the same keys, or other keys.

A new root is version n+1 and carries the signatures that the old root demands and those that it demands itself, so
that a vehicle that knows any earlier root follows the chain. All new files are first written to a journal folder,
which gets its name in one rename: a kill before the rename changes nothing, and the next call or the next start of
the run completes a renewal that was killed after it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from fleetloop.embedded.ceremony import LIFE, MODELS_ROLE, ROOT_KEYS, ROOT_THRESHOLD
from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import make_folder, replace_bytes, sync_path
from fleetloop.kit.security.signing import SigningKeyError, load_key

ROTATABLE = ("root", "director", "timestamp", "models")
_JOURNAL = "renewal"
_ONLINE_ROLES = ("targets", "snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class Renewed:
    """The versions that a renewal wrote."""

    models_root: int
    director_root: int
    targets: int
    expires: datetime


@dataclass(slots=True)
class _Draft:
    """The newest offline-signed metadata, to be changed, and key files to write with it."""

    models: Metadata[Root]
    director: Metadata[Root]
    targets: Metadata[Targets]
    signers: list[CryptoSigner]
    keys: dict[str, bytes] = field(default_factory=dict)


def newest(folder: Path, role: str) -> Path:
    """Return the file N.<role>.json with the highest N. Raises UserError if the folder has none."""
    files = {int(path.name.split(".")[0]): path for path in folder.glob(f"*.{role}.json") if path.name[0].isdigit()}
    if not files:
        raise UserError(f"There is no {role}.json in {folder}.", "`fleetloop up` holds the ceremony that creates it.")
    return files[max(files)]


def complete_renewal(signing: Path) -> None:
    """Put the files of a renewal in place that was killed after it was decided. Idempotent."""
    journal = signing / _JOURNAL
    if not journal.is_dir():
        return
    for path in sorted(journal.rglob("*")):
        if path.is_file():
            target = signing / path.relative_to(journal)
            make_folder(target.parent)
            replace_bytes(target, path.read_bytes(), mode=path.stat().st_mode & 0o777, sync=True)
    done = signing / f"{_JOURNAL}.done"
    shutil.rmtree(done, ignore_errors=True)
    journal.rename(done)
    shutil.rmtree(done)


def renew_trust(signing: Path, now: datetime) -> Renewed:
    """Sign roots and top-level targets again with the same keys, valid for a year from `now`.

    Raises UserError if an offline key is missing.
    """
    return _renew(signing, now, lambda _: None)


def rotate_keys(signing: Path, role: str, now: datetime) -> Renewed:
    """Replace the keys of a role, and renew everything else.

    Args:
        signing: The folder of the ceremony, with offline/, online/ and trust/.
        role: `root`: new offline root keys, two of three. `director` or `timestamp`: a new key of the rollout
            controller, which signs both. `models`: a new key of the training orchestrator.
        now: The current time.

    Raises UserError for an unknown role, or if an offline key is missing.
    """
    changes: dict[str, Callable[[_Draft], None]] = {
        "root": _rotate_root,
        "director": lambda draft: _rotate_online(draft, "rollout", signing),
        "timestamp": lambda draft: _rotate_online(draft, "rollout", signing),
        "models": lambda draft: _rotate_online(draft, "orchestrator", signing),
    }
    if role not in changes:
        raise UserError(f"There is no role {role!r} to rotate.", f"Give --role {', '.join(ROTATABLE)}.")
    return _renew(signing, now, changes[role])


def _renew(signing: Path, now: datetime, change: Callable[[_Draft], None]) -> Renewed:
    complete_renewal(signing)
    trust = signing / "trust"
    models = Metadata[Root].from_file(str(newest(trust / "models", "root")))
    director = Metadata[Root].from_file(str(newest(trust / "director", "root")))
    targets = Metadata[Targets].from_file(str(newest(trust / "models", "targets")))
    draft = _Draft(deepcopy(models), deepcopy(director), deepcopy(targets), _offline_keys(signing / "offline"))
    change(draft)
    expires = (now + LIFE).replace(microsecond=0)
    for each in (draft.models, draft.director, draft.targets):
        each.signed.version += 1
        each.signed.expires = expires
    files = {
        f"trust/models/{draft.models.signed.version}.root.json": _sign_root(models.signed, draft.models, draft),
        f"trust/director/{draft.director.signed.version}.root.json": _sign_root(
            director.signed, draft.director, draft
        ),
        f"trust/models/{draft.targets.signed.version}.targets.json": _sign(
            draft.targets, [draft.models.signed.roles["targets"].keyids], draft.signers
        ),
    }
    draft.models.signed.verify_delegate("targets", draft.targets.signed_bytes, draft.targets.signatures)
    _write_journal(signing, files, draft.keys)
    complete_renewal(signing)
    return Renewed(draft.models.signed.version, draft.director.signed.version, draft.targets.signed.version, expires)


def _offline_keys(folder: Path) -> list[CryptoSigner]:
    try:
        return [load_key(path) for path in sorted(folder.glob("*.pem"))]
    except SigningKeyError as error:
        raise UserError(f"{error}.", f"Copy the offline keys from their stores to {folder}.") from error


def _sign_root(old: Root, new: Metadata[Root], draft: _Draft) -> bytes:
    content = _sign(new, [old.roles["root"].keyids, new.signed.roles["root"].keyids], draft.signers)
    for root, whose in ((old, "earlier"), (new.signed, "new")):
        found = sum(key in root.roles["root"].keyids for key in new.signatures)
        if found < root.roles["root"].threshold:
            raise UserError(
                f"{found} of the {root.roles['root'].threshold} {whose} root keys are here.",
                "Copy the files root-*.pem from their offline stores to signing/offline, and delete them afterwards.",
            )
        root.verify_delegate("root", new.signed_bytes, new.signatures)
    return content


def _sign(
    metadata: Metadata[Root] | Metadata[Targets], keyids: Sequence[Sequence[str]], signers: Sequence[CryptoSigner]
) -> bytes:
    wanted = {each for group in keyids for each in group}
    chosen = [signer for signer in signers if signer.public_key.keyid in wanted]
    metadata.signatures.clear()
    for signer in chosen:
        metadata.sign(signer, append=True)
    if not chosen or (isinstance(metadata.signed, Targets) and len(chosen) < len(wanted)):
        raise UserError(
            f"{len(chosen)} of the {len(wanted)} offline keys of {metadata.signed.type} are here.",
            "Copy the files *.pem from their offline stores to signing/offline, and delete them afterwards.",
        )
    content: bytes = metadata.to_bytes()
    return content


def _new_key() -> tuple[CryptoSigner, bytes]:
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return CryptoSigner(key), content


def _rotate_root(draft: _Draft) -> None:
    made = [_new_key() for _ in range(ROOT_KEYS)]
    for root in (draft.models.signed, draft.director.signed):
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        for signer, _ in made:
            root.add_key(signer.public_key, "root")
        root.roles["root"].threshold = ROOT_THRESHOLD
    draft.signers += [signer for signer, _ in made]
    draft.keys |= {f"offline/root-{number}.pem": content for number, (_, content) in enumerate(made, 1)}


def _rotate_online(draft: _Draft, name: str, signing: Path) -> None:
    """Replace an online key wherever it signs: in both roots, and in the delegation of the models."""
    try:
        old = load_key(signing / "online" / f"{name}.pem").public_key.keyid
    except SigningKeyError as error:
        raise UserError(f"{error}.", "Copy the key that is to be replaced there.") from error
    signer, content = _new_key()
    for root in (draft.models.signed, draft.director.signed):
        for role in _ONLINE_ROLES:
            if old in root.roles[role].keyids:
                root.revoke_key(old, role)
                root.add_key(signer.public_key, role)
    draft.targets.signed.revoke_key(old, MODELS_ROLE)
    draft.targets.signed.add_key(signer.public_key, MODELS_ROLE)
    draft.keys[f"online/{name}.pem"] = content


def _write_journal(signing: Path, public: dict[str, bytes], private: dict[str, bytes]) -> None:
    draft = signing / f"{_JOURNAL}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    for files, mode in ((public, 0o644), (private, 0o600)):
        for name, content in files.items():
            make_folder((draft / name).parent)
            replace_bytes(draft / name, content, mode=mode, sync=True)
    draft.rename(signing / _JOURNAL)  # from here on the renewal counts
    sync_path(signing)
