"""Ids that are hashes of the causes of an event, so that a repeat has the same id and is recognised."""

from __future__ import annotations

import hashlib
import struct


def causal_id(kind: str, *causes: str | int | bytes) -> str:
    """32 lower-case hex digits that depend on `kind` and every cause, in order.

    Each part is written with its type and length before it is hashed, so ("a", "bc") and ("ab", "c") differ.
    """
    digest = hashlib.sha256()
    for part in (kind, *causes):
        if isinstance(part, str):
            tag, raw = b"s", part.encode()
        elif isinstance(part, bytes):
            tag, raw = b"b", part
        else:
            tag, raw = b"i", str(part).encode()
        digest.update(tag + struct.pack("<Q", len(raw)) + raw)
    return digest.hexdigest()[:32]
