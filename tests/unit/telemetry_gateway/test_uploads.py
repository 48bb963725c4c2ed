"""The part of a clip is deleted only once the clip and its receipt are on the disk and announced."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.small_disk import small_disk
from tests.unit.telemetry_gateway.test_codec import CLIP

from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import RecordingPublisher
from telemetry_gateway.core import MCAP_MAGIC
from telemetry_gateway.model import Clip
from telemetry_gateway.uploads import Uploads

CONTENT = MCAP_MAGIC + bytes(50_000) + MCAP_MAGIC
WHOLE = replace(CLIP, sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT))


async def receive(uploads: Uploads, clip: Clip = WHOLE) -> None:
    async def chunks() -> AsyncIterator[tuple[int, bytes]]:
        yield 0, CONTENT

    await uploads.receive(clip, chunks(), lambda: None)


def uploads_in(folder: Path, publisher: Any, objects: Path) -> Uploads:
    return Uploads(folder, Objects(objects.as_uri()), publisher, SystemClock(), "fleet", 8, 10**9)


async def test_clip_and_receipt_are_synced_and_announced_before_the_part_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link, unlink = os.fsync, os.link, os.unlink

    class Publisher(RecordingPublisher):
        async def publish(self, events: Any) -> None:
            steps.append("announce")
            await super().publish(events)

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        steps.append("sync folder" if path.is_dir() else "sync content")
        fsync(descriptor)

    def linked(draft: Any, path: Any, **options: Any) -> None:
        steps.append("name receipt" if Path(path).suffix == ".pb" else "name clip")
        link(draft, path, **options)

    def unlinked(path: Any, **options: Any) -> None:
        if Path(path).suffix == ".part":
            steps.append("delete part")
        unlink(path, **options)

    uploads = uploads_in(tmp_path / "uploads", Publisher(), tmp_path / "objects")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "unlink", unlinked)
    await receive(uploads)
    order = [step for step in steps if step != "sync folder"]
    assert order == ["sync content", "name clip", "sync content", "name receipt", "announce", "delete part"]
    for name in ("name clip", "name receipt"):
        assert steps[steps.index(name) + 1] == "sync folder"
    assert steps[steps.index("announce") - 1] == "sync folder"


@pytest.mark.parametrize("fails_at", range(0, 30, 3))
async def test_whenever_the_disk_fails_the_part_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    publisher = RecordingPublisher()
    uploads = uploads_in(tmp_path / "uploads", publisher, tmp_path / "objects")
    fsync, calls = os.fsync, 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > fails_at:
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    part = tmp_path / "uploads" / "car" / f"{WHOLE.sha256}.part"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        try:
            await receive(uploads)
        except OSError:
            assert part.read_bytes() == CONTENT
            assert publisher.events == []
    await receive(uploads)
    assert not part.exists()
    assert publisher.events


async def test_a_full_object_store_keeps_the_part_and_the_upload_succeeds_later(tmp_path: Path) -> None:
    publisher = RecordingPublisher()
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        uploads = uploads_in(tmp_path / "uploads", publisher, disk)
        (disk / "others").write_bytes(bytes(32 * 1024))
        with pytest.raises(OSError, match="No space"):
            await receive(uploads)
        assert (tmp_path / "uploads" / "car" / f"{WHOLE.sha256}.part").exists()
        (disk / "others").unlink()
        await receive(uploads)
    assert len(publisher.events) == 1
