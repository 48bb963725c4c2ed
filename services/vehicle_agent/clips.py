"""Clips on the vehicle's disk, from the cut until the gateway confirms that they are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fleetloop.kit.process.atomic_file import remove_drafts, replace_text, replacing
from vehicle_agent.commands import ClipProgress
from vehicle_agent.model import ClipHeader
from vehicle_agent.ring_buffer import ClipContent, write_clip

_KEPT_MARKS = 10_000
_CLIP, _HEADER, _DONE = ".mcap", ".json", ".stored"


class ClipStore:
    """A folder of clips by command: <command>.mcap with its header <command>.json, later only <command>.stored."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True)
        remove_drafts(folder)
        self.dropped = 0
        """Clips that were deleted because the limit was exceeded."""
        self.on_put: Callable[[], None] = lambda: None

    def progress(self, command_id: str) -> ClipProgress:
        """Return the progress of a command's clip."""
        if self._path(command_id, _HEADER).exists():
            return ClipProgress.CUT
        return ClipProgress.STORED if self._path(command_id, _DONE).exists() else ClipProgress.UNKNOWN

    def write(self, cut: ClipContent, priority: int) -> ClipHeader:
        """Write a clip. Slow; call it in a thread.

        The header is written last, and a clip without a header does not count, so a kill leaves no partial clip.
        """
        path = self._path(cut.info.command_id, _CLIP)
        with replacing(path) as draft:
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
        replace_text(self._path(header.command_id, _HEADER), json.dumps(asdict(header)))
        return header

    def waiting(self) -> list[ClipHeader]:
        """Return the clips that are not stored yet, highest priority first."""
        headers = [_header(path) for path in sorted(self._folder.glob(f"*{_HEADER}"))]
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

    def stored(self, header: ClipHeader) -> None:
        """Mark a clip as stored and delete its bytes. Old marks are pruned."""
        replace_text(self._path(header.command_id, _DONE), header.sha256)
        self._delete(header.command_id)
        marks = list(self._folder.glob(f"*{_DONE}"))
        if len(marks) > _KEPT_MARKS:
            for mark in sorted(marks, key=lambda path: path.stat().st_mtime)[: _KEPT_MARKS // 10]:
                mark.unlink(missing_ok=True)

    def stored_digest(self, command_id: str) -> str:
        """Return the SHA-256 of the clip that was stored for a command; empty if there is none."""
        try:
            return self._path(command_id, _DONE).read_text()
        except FileNotFoundError:
            return ""

    def unmark_stored(self, command_id: str) -> None:
        """Delete the mark of a clip that the fleet has lost, so that its command can be carried out again."""
        self._path(command_id, _DONE).unlink(missing_ok=True)

    def _delete(self, command_id: str) -> None:
        self._path(command_id, _HEADER).unlink(missing_ok=True)
        self._path(command_id, _CLIP).unlink(missing_ok=True)

    def _path(self, command_id: str, suffix: str) -> Path:
        return self._folder / f"{hashlib.sha256(command_id.encode()).hexdigest()[:40]}{suffix}"


def _header(path: Path) -> ClipHeader:
    raw = json.loads(path.read_text())
    return ClipHeader(**{**raw, "cameras": tuple(raw["cameras"])})
