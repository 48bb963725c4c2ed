"""Unacknowledged messages on the vehicle's disk.

Each message is a file, so that an acknowledgement deletes it, in any order. A message that `put` has stored survives
a kill and a power failure: content and name are synced, and the name carries a digest of the content. A file that is
damaged nevertheless is set aside, and the others are sent. A full or failing disk costs messages, which are counted;
it raises nothing.
"""

from __future__ import annotations

import errno
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from fleetloop.kit.process.atomic_file import make_folder, remove_drafts, replace_bytes
from fleetloop.kit.process.logs import get_logger
from vehicle_agent.damaged import DISK_FULL, SetAside

log = get_logger(__name__)
Key = tuple[bytes, int]
"""(boot, sequence)."""
_DIGEST_BYTES = 8
_MAX_NUMBER = 10**15


class Spool:
    """A bounded queue of messages that survives a restart. The oldest message is sent first and dropped first."""

    def __init__(self, folder: Path, max_bytes: int, readable: Callable[[bytes], bool] = bool) -> None:
        """Open the folder and index the messages that an earlier start left there.

        Args:
            folder: Folder that only this spool uses.
            max_bytes: Most bytes of all messages.
            readable: Whether bytes are a message, for files of versions that wrote no digest.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._readable = readable
        self._files: OrderedDict[Key, tuple[Path, int]] = OrderedDict()
        self._next = 0
        self._damaged = SetAside(folder / "damaged")
        self._refused = SetAside(folder / "refused")
        self.bytes = 0
        """Bytes of all messages."""
        self.dropped = 0
        """Messages that were dropped since this start, because of the limit or because the disk is full."""
        self.on_put: Callable[[Key], None] = lambda key: None
        """Called after every put, so that a sender can wake up."""
        try:
            make_folder(folder)
            remove_drafts(folder)
            for path in sorted(folder.glob("*.msg")):
                self._index(path)
        except OSError as error:
            log.error("spool_not_readable", folder=str(folder), error=str(error))

    @property
    def damaged(self) -> int:
        """Messages that were set aside since this start because their file is damaged."""
        return self._damaged.count

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: Key) -> bool:
        return key in self._files

    def keys(self) -> list[Key]:
        """Return the keys of all messages, oldest first."""
        return list(self._files)

    def put(self, key: Key, payload: bytes) -> int:
        """Store a message, dropping the oldest ones if needed. Returns how many were dropped, this one included.

        A message whose key is stored already is ignored.
        """
        if key in self._files:
            return 0
        dropped = 0
        while self._files and self.bytes + len(payload) > self._max_bytes:
            self._remove(next(iter(self._files)))
            dropped += 1
        boot, sequence = key
        path = self._folder / f"{self._next:016d}-{boot.hex()}-{sequence}-{_digest(payload)}.msg"
        while (error := self._write(path, payload)) is not None:
            dropped += 1
            if error not in DISK_FULL or not self._files:
                self.dropped += dropped
                return dropped
            self._remove(next(iter(self._files)))
        self._next += 1
        self._files[key] = (path, len(payload))
        self.bytes += len(payload)
        self.dropped += dropped
        self.on_put(key)
        return dropped

    def read(self, key: Key) -> bytes | None:
        """Return a message, or None if it was acknowledged or dropped meanwhile, or is damaged and now set aside."""
        known = self._files.get(key)
        if known is None:
            return None
        path, size = known
        try:
            with path.open("rb") as file:
                payload = file.read(size + 1)
        except OSError as error:
            self._damage(key, f"cannot be read: {error.strerror}")
            return None
        _, _, expected = _parse(path)
        if not (_digest(payload) == expected if expected else self._readable(payload)):
            self._damage(key, "is not what was written")
            return None
        return payload

    def acknowledge(self, key: Key) -> None:
        """Delete a message. Idempotent, because acknowledgements may arrive twice."""
        if key in self._files:
            self._remove(key)

    def set_aside(self, key: Key) -> None:
        """Move a message that was refused for good to a folder of bounded size. Idempotent."""
        if key in self._files:
            path, size = self._files.pop(key)
            self.bytes -= size
            self._refused.move(path, "refused")

    def messages(self) -> Iterator[tuple[Key, bytes]]:
        """Yield all messages, oldest first, except those that are acknowledged or dropped meanwhile."""
        for key in self.keys():
            payload = self.read(key)
            if payload is not None:
                yield key, payload

    def _index(self, path: Path) -> None:
        try:
            number, key, _ = _parse(path)
            if key in self._files:
                raise ValueError("has the key of an earlier message")
            self._files[key] = (path, path.stat().st_size)
        except (ValueError, OSError) as error:
            self._damaged.move(path, str(error))
            return
        self._next = max(self._next, number + 1)
        self.bytes += self._files[key][1]

    def _write(self, path: Path, payload: bytes) -> int | None:
        """Write a message. Returns None, or the number of the error."""
        try:
            make_folder(self._folder)
            replace_bytes(path, payload, sync=True)
        except OSError as error:
            log.warning("message_not_stored", file=str(path), error=str(error))
            return error.errno or errno.EIO
        return None

    def _damage(self, key: Key, reason: str) -> None:
        path, size = self._files.pop(key)
        self.bytes -= size
        self._damaged.move(path, reason)

    def _remove(self, key: Key) -> None:
        """Forget a message. If its file cannot be deleted, the next start sends it again, which does no harm."""
        path, size = self._files.pop(key)
        self.bytes -= size
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("message_not_deleted", file=str(path), error=str(error))


def _digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).hexdigest()


def _parse(path: Path) -> tuple[int, Key, str]:
    """Return the number, the key and the digest in a file's name; versions before 0.2 wrote no digest.

    Raises ValueError.
    """
    number, boot, sequence, *digest = path.stem.split("-")
    if len(digest) > 1 or not 0 <= int(number) < _MAX_NUMBER:
        raise ValueError("is not the name of a message")
    return int(number), (bytes.fromhex(boot), int(sequence)), digest[0] if digest else ""
