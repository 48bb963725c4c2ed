"""What has been recorded and not acknowledged, on the vehicle's own disk.

One file a message, so that acknowledging is removing, in whatever order acknowledgements come. The disk is not
asked to sync: a killed agent loses nothing, a power cut the last seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from fleetloop.kit.process.atomic_file import remove_drafts, replace_bytes

Key = tuple[bytes, int]
"""Boot and sequence."""


class Spool:
    """A bounded queue of messages that survives a restart. Oldest first, in sending and in dropping."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Opens the folder and finds what an earlier start left there."""
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
        """Size of everything that waits."""
        self.dropped = 0
        """Messages that had to make room since this start."""
        self.on_put: Callable[[Key], None] = lambda key: None
        """Called after every put, so that a sender can wake up."""

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: Key) -> bool:
        return key in self._files

    def keys(self) -> list[Key]:
        """Everything that waits, oldest first."""
        return list(self._files)

    def put(self, key: Key, payload: bytes) -> int:
        """Keeps a message; how many older ones were dropped for it. A key that waits already is left alone."""
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
        """The message; None when it has been acknowledged or dropped meanwhile."""
        known = self._files.get(key)
        return known[0].read_bytes() if known else None

    def acknowledge(self, key: Key) -> None:
        """Forgets a message. One that is not there is fine: acknowledgements may come twice."""
        if key in self._files:
            self._remove(key)

    def messages(self) -> Iterator[tuple[Key, bytes]]:
        """Everything that waits, oldest first; what goes away meanwhile is passed over."""
        for key in self.keys():
            payload = self.read(key)
            if payload is not None:
                yield key, payload

    def _remove(self, key: Key) -> None:
        path, size = self._files.pop(key)
        self.bytes -= size
        path.unlink(missing_ok=True)
