"""Signing keys in files. Ed25519 signatures are deterministic, so a repeated signing writes identical bytes."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.kit.process.settings import SettingsError


class SigningKeyError(SettingsError):
    """A key file is missing or holds no Ed25519 key. The text names the file and the remedy."""


def make_key(path: Path) -> CryptoSigner:
    """Creates a key in a file that only its owner can read; loads the key if the file exists."""
    if path.exists():
        return load_key(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace_bytes(path, content, mode=0o600, sync=True)
    return load_key(path)


def load_key(path: Path) -> CryptoSigner:
    """Loads the signer from a PEM file. Raises SigningKeyError."""
    return CryptoSigner(private_key(path))


def private_key(path: Path) -> Ed25519PrivateKey:
    """Loads the key itself from a PEM file. Raises SigningKeyError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise SigningKeyError(f"{path}: no such key; the signing ceremony creates it (docs/operating.md)") from error
    except ValueError as error:
        raise SigningKeyError(f"{path}: this is not a private key in PEM format: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path}: this is not an Ed25519 key")
    return key
