"""Unacknowledged messages on the vehicle's disk.

Each message is a file, so that an acknowledgement deletes it, in any order. Files are not synced: a killed agent
loses nothing, a power failure loses the last seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from fleetloop.kit.process.atomic_file import remove_drafts, replace_bytes

Key = tuple[bytes, int]
"""(boot, sequence)."""


class Spool:
    """A bounded queue of messages that survives a restart. The oldest message is sent first and dropped first."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open the folder and index the messages that an earlier start left there."""
        self._folder = folder
        self._max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True)
        remove_drafts(folder)
        self._files: OrderedDict[Key, tuple[Path, int]] = OrderedDict()
        self._next = 0
        for path in sorted(folder.glob("*.msg")):
            number, boot, sequence = path.stem.split("-")
            self._files[bytes.fromhex(boot), int(sequence)] = (path, path.stat().st_size)
            self._next = int(number) + 1
        self.bytes = sum(size for _, size in self._files.values())
        """Bytes of all messages."""
        self.dropped = 0
        """Messages that were dropped since this start because the limit was exceeded."""
        self.on_put: Callable[[Key], None] = lambda key: None
        """Called after every put, so that a sender can wake up."""

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: Key) -> bool:
        return key in self._files

    def keys(self) -> list[Key]:
        """Return the keys of all messages, oldest first."""
        return list(self._files)

    def put(self, key: Key, payload: bytes) -> int:
        """Store a message, dropping the oldest ones if needed. Returns how many were dropped.

        A message whose key is stored already is ignored.
        """
        if key in self._files:
            return 0
        dropped = 0
        while self._files and self.bytes + len(payload) > self._max_bytes:
            self._remove(next(iter(self._files)))
            dropped += 1
        boot, sequence = key
        path = self._folder / f"{self._next:016d}-{boot.hex()}-{sequence}.msg"
        replace_bytes(path, payload)
        self._next += 1
        self._files[key] = (path, len(payload))
        self.bytes += len(payload)
        self.dropped += dropped
        self.on_put(key)
        return dropped

    def read(self, key: Key) -> bytes | None:
        """Return a message, or None if it was acknowledged or dropped meanwhile."""
        known = self._files.get(key)
        return known[0].read_bytes() if known else None

    def acknowledge(self, key: Key) -> None:
        """Delete a message. Idempotent, because acknowledgements may arrive twice."""
        if key in self._files:
            self._remove(key)

    def messages(self) -> Iterator[tuple[Key, bytes]]:
        """Yield all messages, oldest first, except those that are acknowledged or dropped meanwhile."""
        for key in self.keys():
            payload = self.read(key)
            if payload is not None:
                yield key, payload

    def _remove(self, key: Key) -> None:
        path, size = self._files.pop(key)
        self.bytes -= size
        path.unlink(missing_ok=True)
