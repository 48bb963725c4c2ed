"""A model's identity: one digest over the files that make it, the same on every machine that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

ENCODER = "encoder.onnx"
HEAD = "head.onnx"
CARD = "card.json"
WEIGHTS = "model.safetensors"
VEHICLE_FILES = (ENCODER, HEAD, CARD)
"""What a vehicle loads. The weights stay in the object store, for the next training run."""


def artifact_digest(file_sha256: Mapping[str, str]) -> str:
    """Digest of a model from the SHA-256 of each of its vehicle files, by name.

    Raises KeyError when a vehicle file is missing; further files do not count.
    """
    digest = hashlib.sha256()
    for name in VEHICLE_FILES:
        digest.update(f"{name} {file_sha256[name]}\n".encode())
    return digest.hexdigest()


def sha256_hex(content: bytes) -> str:
    """Lower-case SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()
