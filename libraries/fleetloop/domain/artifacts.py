"""A model's identity: one digest over its files, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

ENCODER = "encoder.onnx"
HEAD = "head.onnx"
CARD = "card.json"
WEIGHTS = "model.safetensors"
REPORT = "report.html"
"""The examination as a page for people. Not every job writes one."""
WEIGHTS_DIGEST = "weights_sha256"
"""Field of the card with the digest of the weights, which the model's own digest does not cover."""
VEHICLE_FILES = (ENCODER, HEAD, CARD)
"""The files that a vehicle loads. The weights stay in the object store, for the next training run."""


def artifact_digest(file_sha256: Mapping[str, str]) -> str:
    """Compute a model's digest from the SHA-256 of each of its vehicle files, by name.

    Other files do not change the digest. Raises KeyError when a vehicle file is missing.
    """
    digest = hashlib.sha256()
    for name in VEHICLE_FILES:
        digest.update(f"{name} {file_sha256[name]}\n".encode())
    return digest.hexdigest()


class ArtifactsChangedError(ValueError):
    """The files are not those of the model that was examined."""


def check_artifacts(model_digest: str, contents: Mapping[str, bytes], weights_sha256: str = "") -> None:
    """Check that files are those of a model: the vehicle files by its digest, the weights by the card.

    Args:
        model_digest: The model.
        contents: Its vehicle files and its weights, by name.
        weights_sha256: Digest of the weights from a record of our own; empty to take it from the card, which the
            model's digest covers.

    Raises ArtifactsChangedError that names the file.
    """
    found = artifact_digest({name: sha256_hex(contents[name]) for name in VEHICLE_FILES})
    if found != model_digest:
        raise ArtifactsChangedError(f"{', '.join(VEHICLE_FILES)} have the digest {found}, not {model_digest}")
    expected = weights_sha256 or json.loads(contents[CARD]).get(WEIGHTS_DIGEST, "")
    if not expected:
        raise ArtifactsChangedError(f"{CARD} has no {WEIGHTS_DIGEST}: {WEIGHTS} cannot be checked")
    if sha256_hex(contents[WEIGHTS]) != expected:
        raise ArtifactsChangedError(f"{WEIGHTS} has the SHA-256 {sha256_hex(contents[WEIGHTS])}, not {expected}")


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of some bytes as lower-case hex."""
    return hashlib.sha256(content).hexdigest()
