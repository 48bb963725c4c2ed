"""A model's identity: one digest over its files, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

ENCODER = "encoder.onnx"
HEAD = "head.onnx"
CARD = "card.json"
WEIGHTS = "model.safetensors"
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


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of some bytes as lower-case hex."""
    return hashlib.sha256(content).hexdigest()
