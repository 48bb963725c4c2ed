"""Signatures of events that choose data or models: the right to write a topic must not decide what is trained.

The owner of a topic signs topic, key, id, type and payload of its events with Ed25519. Readers verify with the
owner's public keys, from a file that names the signed topics (FLEETLOOP_EVENT_TRUST). An event of such a topic with
no valid signature can never be understood: it is set aside. An old event that is sent again has its old id and is a
repeat. A shared secret would let every reader forge what it reads.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleetloop.kit.messaging.events import Event, Headers
from fleetloop.kit.messaging.records import Record, UnreadableMessageError
from fleetloop.kit.process.settings import ServiceSettings, SettingsError
from fleetloop.kit.security.signing import private_key

SIGNATURE = "signature"
"""Header with the 64 bytes of the signature."""
_PURPOSE = b"fleetloop event 1"


def signed_bytes(topic: str, key: bytes, event_id: bytes, event_type: bytes, payload: bytes) -> bytes:
    """What a signature covers: a purpose, then each part after its length in 8 bytes, most significant first."""
    parts = (_PURPOSE, topic.encode(), key, event_id, event_type, payload)
    return b"".join(struct.pack(">Q", len(part)) + part for part in parts)


class EventSigner:
    """Signs events with the key of one service."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def header(self, event: Event) -> tuple[str, bytes]:
        """The header with the signature of an event."""
        covered = signed_bytes(
            event.topic, event.key.encode(), event.event_id.encode(), event.event_type.encode(), event.payload
        )
        return SIGNATURE, self._key.sign(covered)


@dataclass(frozen=True, slots=True)
class EventTrust:
    """Who may have signed the events of which topic. Topics that are not named need no signature."""

    keys: Mapping[str, Sequence[Ed25519PublicKey]]

    def verify(self, record: Record) -> None:
        """Raises UnreadableMessageError unless the topic needs no signature, or one of its keys made this one."""
        keys = self.keys.get(record.topic)
        if keys is None:
            return
        signature = _only(record.headers, SIGNATURE)
        if signature is None:
            raise UnreadableMessageError(f"{SIGNATURE}: {record.topic} has signed events, and this one has none")
        covered = signed_bytes(
            record.topic,
            record.key or b"",
            _only(record.headers, "ce_id") or b"",
            _only(record.headers, "ce_type") or b"",
            record.value,
        )
        for key in keys:
            try:
                key.verify(signature, covered)
            except InvalidSignature:
                continue
            return
        raise UnreadableMessageError(f"{SIGNATURE}: none of the keys of {record.topic} made it")


NO_TRUST = EventTrust({})
"""Needs no signature of anything: for processes without certificates, such as tests."""


def _only(headers: Headers, name: str) -> bytes | None:
    """The value of the only header with a name; None when there is none, or several, of which readers differ."""
    found = [value for key, value in headers if key == name]
    return found[0] if len(found) == 1 else None


def load_signer(settings: ServiceSettings) -> EventSigner | None:
    """The signer of this service; None when it owns no signed topic. Raises SettingsError."""
    return None if settings.event_key is None else EventSigner(private_key(settings.event_key))


def load_trust(settings: ServiceSettings) -> EventTrust:
    """The keys of the signed topics. Raises SettingsError if the file is wrong, or missing where there is TLS."""
    path = settings.event_trust
    if path is None:
        if settings.tls_ca is not None:
            raise SettingsError(
                "FLEETLOOP_EVENT_TRUST: is not set; name the file with the public keys of signed topics"
            )
        return NO_TRUST
    try:
        content = yaml.safe_load(path.read_text())
        keys = {
            str(topic): [Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True)) for text in texts]
            for topic, texts in content.items()
        }
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError, binascii.Error) as error:
        raise SettingsError(f"{path}: this does not map topics to lists of Ed25519 public keys: {error}") from error
    if not keys:
        raise SettingsError(f"{path}: names no signed topic")
    return EventTrust(keys)


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key of a private one, as in the trust file."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()
