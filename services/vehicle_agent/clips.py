"""Clips on the vehicle's disk, from the cut until the gateway confirms that they are stored."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

from fleetloop.kit.process.atomic_file import make_folder, remove_drafts, replace_text, replacing
from fleetloop.kit.process.logs import get_logger
from vehicle_agent.commands import ClipProgress
from vehicle_agent.damaged import DISK_FULL, SetAside
from vehicle_agent.model import ClipHeader
from vehicle_agent.ring_buffer import ClipContent, write_clip

log = get_logger(__name__)
_KEPT_MARKS = 10_000
_CLIP, _HEADER, _DONE = ".mcap", ".json", ".stored"


class ClipStore:
    """A folder of clips by command: <command>.mcap with its header <command>.json, later only <command>.stored."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._damaged = SetAside(folder / "damaged")
        self.dropped = 0
        """Clips that were deleted because the limit was exceeded or the disk was full."""
        try:
            make_folder(folder)
            remove_drafts(folder)
        except OSError as error:
            log.error("clips_not_readable", folder=str(folder), error=str(error))
        self.on_put: Callable[[], None] = lambda: None

    @property
    def damaged(self) -> int:
        """Clips that were set aside since this start because their header is damaged."""
        return self._damaged.count

    def progress(self, command_id: str) -> ClipProgress:
        """Return the progress of a command's clip."""
        if self._path(command_id, _HEADER).exists():
            return ClipProgress.CUT
        return ClipProgress.STORED if self._path(command_id, _DONE).exists() else ClipProgress.UNKNOWN

    def write(self, cut: ClipContent, priority: int) -> ClipHeader:
        """Write a clip. Slow; call it in a thread.

        The header is written last, and a clip without a header does not count, so a kill leaves no partial clip. On
        a full disk, clips of no higher priority make room, the lowest first. Raises OSError if that is not enough.
        """
        while True:
            try:
                return self._write(cut, priority)
            except OSError as error:
                self._delete(cut.info.command_id)
                others = [header for header in self.waiting() if header.priority <= priority]
                if error.errno not in DISK_FULL or not others:
                    raise
                self._delete(others[-1].command_id)
                self.dropped += 1

    def _write(self, cut: ClipContent, priority: int) -> ClipHeader:
        path = self._path(cut.info.command_id, _CLIP)
        make_folder(self._folder)
        with replacing(path, sync=True) as draft:
            with draft.open("wb") as file:
                cameras = write_clip(cut, file)
            with draft.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = draft.stat().st_size
        header = ClipHeader(
            command_id=cut.info.command_id,
            firing_id=cut.info.firing_id,
            boot_id=cut.info.boot_id.hex(),
            sha256=digest,
            size_bytes=size,
            start_utc_ns=cut.info.utc_ns(cut.start_ns),
            end_utc_ns=cut.info.utc_ns(cut.end_ns),
            cameras=cameras,
            model_digest=cut.info.model_digest,
            priority=priority,
        )
        replace_text(self._path(header.command_id, _HEADER), json.dumps(asdict(header)), sync=True)
        return header

    def waiting(self) -> list[ClipHeader]:
        """Return the clips that are not stored yet, highest priority first. Damaged ones are set aside."""
        headers = []
        for path in sorted(self._folder.glob(f"*{_HEADER}")):
            try:
                headers.append(_header(path))
            except FileNotFoundError:
                continue  # deleted meanwhile
            except (OSError, ValueError, TypeError, KeyError) as error:
                self._damaged.move(path, repr(error))
                self._damaged.move(path.with_suffix(_CLIP), "its header is damaged")
        return sorted(headers, key=lambda header: -header.priority)

    def make_room(self) -> int:
        """Delete clips of the lowest priority until the rest fits. Returns their number."""
        headers = self.waiting()
        total, dropped = sum(header.size_bytes for header in headers), 0
        while total > self._max_bytes and len(headers) > 1:
            least = headers.pop()
            total -= least.size_bytes
            dropped += 1
            self._delete(least.command_id)
        self.dropped += dropped
        return dropped

    def content(self, header: ClipHeader) -> Path:
        """Return the path of a clip's bytes."""
        return self._path(header.command_id, _CLIP)

    def check(self, header: ClipHeader) -> bool:
        """Return True if a clip's bytes are as they were cut, otherwise set it aside. Slow; call it in a thread."""
        path = self.content(header)
        try:
            with path.open("rb") as file:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == header.sha256
            reason = "is not as it was cut"
        except OSError as error:
            intact, reason = False, f"cannot be read: {error.strerror}"
        description = self._path(header.command_id, _HEADER)
        if not intact and description.exists():  # otherwise it was deleted meanwhile
            self._damaged.move(description, "its clip is damaged")
            self._damaged.move(path, reason)
        return intact

    def stored(self, header: ClipHeader) -> None:
        """Mark a clip as stored and delete its bytes. Old marks are pruned."""
        try:
            replace_text(self._path(header.command_id, _DONE), header.sha256)
        except OSError as error:  # without its mark, a repeated command is carried out again
            log.warning("clip_not_marked", command=header.command_id, error=str(error))
        self._delete(header.command_id)
        marks = list(self._folder.glob(f"*{_DONE}"))
        if len(marks) > _KEPT_MARKS:
            for mark in sorted(marks, key=lambda path: path.stat().st_mtime)[: _KEPT_MARKS // 10]:
                _delete(mark)

    def stored_digest(self, command_id: str) -> str:
        """Return the SHA-256 of the clip that was stored for a command; empty if the mark cannot be read."""
        try:
            digest = self._path(command_id, _DONE).read_text()
        except (OSError, UnicodeDecodeError):
            return ""
        return digest if re.fullmatch("[0-9a-f]{64}", digest) else ""

    def unmark_stored(self, command_id: str) -> None:
        """Delete the mark of a clip that the fleet has lost, so that its command can be carried out again."""
        _delete(self._path(command_id, _DONE))

    def _delete(self, command_id: str) -> None:
        for suffix in (_HEADER, _CLIP):
            _delete(self._path(command_id, suffix))

    def _path(self, command_id: str, suffix: str) -> Path:
        return self._folder / f"{hashlib.sha256(command_id.encode()).hexdigest()[:40]}{suffix}"


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("file_not_deleted", file=str(path), error=str(error))


def _header(path: Path) -> ClipHeader:
    raw = json.loads(path.read_text())
    header = ClipHeader(**{**raw, "cameras": tuple(raw["cameras"])})
    for field in fields(ClipHeader):
        if type(getattr(header, field.name)).__name__ != str(field.type).partition("[")[0]:
            raise ValueError(f"{field.name} is not of type {field.type}")
    bytes.fromhex(header.boot_id)
    return header
