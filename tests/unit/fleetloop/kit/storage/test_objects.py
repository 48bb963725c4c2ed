"""What counts as stored is on the disk, and only the store's own answer means that there is no object."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError, NotFoundError, PermissionDeniedError
from tests.small_disk import small_disk

from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.storage.objects import ObjectMissingError, Objects, ObjectsUnavailableError


class Steps:
    """The calls that put an object on the disk, in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[str] = []
        for name in ("fsync", "link", "replace", "unlink", "rename"):
            self._record(monkeypatch, name)

    def _record(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def recorded(first: Any, *arguments: Any, **options: Any) -> Any:
            path = Path(f"/proc/self/fd/{first}").resolve() if name == "fsync" else Path(first)
            kind = "folder" if path.is_dir() else "draft" if path.parent.name == ".drafts" else "object"
            self.taken.append(f"{name} {kind}")
            return real(first, *arguments, **options)

        monkeypatch.setattr(os, name, recorded)


@pytest.mark.parametrize("from_file", [False, True])
def test_content_is_synced_before_its_name_and_the_folders_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_file: bool
) -> None:
    objects = Objects((tmp_path / "root").as_uri())
    source: Path | bytes = b"content"
    if from_file:
        source = tmp_path / "source"
        source.write_bytes(b"content")
    objects.put("fleet/clips/other", b"x")
    steps = Steps(monkeypatch)
    assert objects.put_once("fleet/clips/a.mcap", source)
    assert steps.taken == [
        "fsync draft",
        "link draft",
        "unlink draft",
        "fsync folder",
        "fsync folder",
        "fsync folder",
    ]
    steps.taken.clear()
    assert not objects.put_once("fleet/clips/a.mcap", b"other")
    assert steps.taken.count("fsync object") == 1, "a process that was killed may not have synced it"
    assert steps.taken.count("fsync folder") == 3
    steps.taken.clear()
    objects.put("fleet/clips/a.mcap", b"third")
    assert [step for step in steps.taken if "unlink" not in step] == [
        "fsync draft", "replace draft", "fsync folder", "fsync folder", "fsync folder"
    ]  # fmt: skip
    assert objects.get("fleet/clips/a.mcap") == b"third"


def test_new_folders_are_synced_in_their_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects((tmp_path / "root").as_uri())
    steps = Steps(monkeypatch)
    objects.put_once("a/b/c", b"x")
    assert steps.taken.index("link draft") > 2
    assert steps.taken[:2] == ["fsync folder", "fsync folder"]


def test_an_object_that_cannot_be_synced_does_not_count_as_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Objects(tmp_path.as_uri())

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        for put in (objects.put_once, objects.put):
            with pytest.raises(OSError, match="Input/output error"):
                put("a", b"x")
    assert list(objects.list("")) == []
    assert objects.put_once("a", b"x")


def test_an_empty_file_left_by_a_power_failure_is_no_object(tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    (tmp_path / "a").write_bytes(b"")
    assert objects.put_once("a", b"content")
    assert objects.get("a") == b"content"
    assert objects.put_once("empty", b"")
    assert not objects.put_once("empty", b"")


def test_a_full_disk_leaves_neither_an_object_nor_a_draft(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        objects = Objects(disk.as_uri())
        objects.put_once("kept", bytes(20_000))
        with pytest.raises(OSError, match="No space"):
            objects.put_once("large", bytes(100_000))
        assert list(objects.list("")) == ["kept"]
        assert list((disk / ".drafts").iterdir()) == []


def test_drafts_are_no_objects_and_old_ones_are_deleted(tmp_path: Path) -> None:
    (tmp_path / ".drafts").mkdir()
    for name, age_s in (("old", 100_000), ("new", 10)):
        draft = tmp_path / ".drafts" / name
        draft.write_bytes(b"half")
        os.utime(draft, (draft.stat().st_mtime - age_s,) * 2)
    objects = Objects(tmp_path.as_uri())
    assert [path.name for path in (tmp_path / ".drafts").iterdir()] == ["new"]
    assert list(objects.list("")) == []


@pytest.mark.parametrize("address", ["../a", "a/../../b", "/etc/passwd", "", ".drafts/x", "a\0b"])
def test_an_address_stays_below_the_root(tmp_path: Path, address: str) -> None:
    objects = Objects((tmp_path / "root").as_uri())
    for call in (
        objects.get,
        objects.exists,
        lambda each: objects.put_once(each, b"x"),
        lambda each: objects.put(each, b""),
    ):
        with pytest.raises(ValueError, match="not the address"):
            call(address)


@pytest.mark.parametrize("address", ["gone", "folder", "file/below"])
def test_a_missing_object_is_named(tmp_path: Path, address: str) -> None:
    objects = Objects(tmp_path.as_uri())
    objects.put("folder/x", b"")
    objects.put("file", b"")
    with pytest.raises(ObjectMissingError, match=address):
        objects.get(address)
    with pytest.raises(ObjectMissingError, match=address):
        objects.fetch(address, tmp_path / "target")
    assert not objects.exists(address)


@pytest.mark.parametrize("error", [GenericError("503 slow down\nmore"), PermissionDeniedError("403")])
def test_a_store_that_does_not_answer_is_an_outage_and_never_a_missing_object(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    objects = Objects("memory:///")

    def fails(*_: object, **__: object) -> object:
        raise error

    for name in ("get", "head", "put", "list", "rename"):
        monkeypatch.setattr(obstore, name, fails)
    for call in (
        lambda: objects.get("a"),
        lambda: objects.exists("a"),
        lambda: objects.put("a", b""),
        lambda: objects.put_once("a", b""),
        lambda: objects.fetch("a", tmp_path / "a"),
        lambda: objects.rename("a", "b"),
        lambda: list(objects.list("a")),
    ):
        with pytest.raises(ObjectsUnavailableError, match="did not answer for a") as caught:
            call()
        assert is_outage(caught.value)
    error = NotFoundError("404")
    assert not objects.exists("a")


def test_a_store_elsewhere_does_the_same(tmp_path: Path) -> None:
    objects = Objects("memory:///")
    assert objects.put_once("a/b", b"one")
    assert not objects.put_once("a/b", b"two")
    assert (objects.get("a/b"), objects.exists("a/c"), list(objects.list("a"))) == (b"one", False, ["a/b"])
    objects.rename("a/b", "a/c")
    with pytest.raises(ObjectMissingError, match="a/b"):
        objects.get("a/b")
    objects.fetch("a/c", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"one"
