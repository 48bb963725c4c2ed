from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fleetloop.kit.process.atomic_file import remove_drafts, replace_bytes, replace_text, replacing


def test_a_file_is_replaced_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_changes_nothing_and_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as draft:
        draft.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path) as one, replacing(path) as two:
        assert one != two
        one.write_text("one one one")
        two.write_text("two")
    assert path.read_text() == "one one one", "the last to finish"


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    with replacing(tmp_path / "key.pem", mode=0o600) as draft:
        assert stat.S_IMODE(draft.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_a_private_file_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    replace_bytes(path, b"one", mode=0o600)
    replace_bytes(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_mode_holds_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_bytes(tmp_path / "shared", b"x", mode=0o644)
        replace_bytes(tmp_path / "usual", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "usual").stat().st_mode) == 0o600


@pytest.mark.parametrize("sync", [False, True])
def test_content_is_on_the_disk_before_the_rename_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    order: list[str] = []
    replace = Path.replace

    def fsync(descriptor: int) -> None:
        order.append("sync")

    def rename(draft: Path, target: Path) -> Path:
        order.append("rename")
        return replace(draft, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    replace_text(tmp_path / "a", "é", sync=sync)
    assert order == (["sync", "rename", "sync"] if sync else ["rename"]), "the file, then the folder that names it"
    assert (tmp_path / "a").read_bytes() == "é".encode()


def test_what_a_killed_process_left_is_removed_and_files_are_not(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as draft:
        draft.write_text("half")
        (tmp_path / "left").write_text("")
        left = draft.with_name(draft.name + ".tmp")
        left.write_text("half")
    remove_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "left"]
