"""Nothing leaves the spool but by acknowledgement, or by room that newer messages need; a restart changes nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.small_disk import small_disk

from vehicle_agent.codec import is_batch
from vehicle_agent.spool import Spool

BOOT = b"\x00" * 7 + b"\x01"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 30), st.integers(1, 60)),
        st.tuples(st.just("acknowledge"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_it_holds_what_a_list_would_hold(steps: list[tuple[str, int, int]]) -> None:
    """The reference is a plain list of (key, payload), oldest first."""
    with TemporaryDirectory() as folder:
        spool, dropped = Spool(Path(folder), 100), 0
        reference: list[tuple[int, bytes]] = []
        for action, number, size in steps:
            if action == "put":
                payload = bytes([number]) * size
                new = spool.put((BOOT, number), payload)
                if number not in dict(reference):
                    while sum(len(each) for _, each in reference) + size > 100:
                        reference.pop(0)
                        dropped += 1
                        new -= 1
                    reference.append((number, payload))
                assert new == 0
            elif action == "acknowledge":
                spool.acknowledge((BOOT, number))
                reference = [each for each in reference if each[0] != number]
            else:
                spool = Spool(Path(folder), 100)
                spool.dropped = dropped
            assert [(key[1], payload) for key, payload in spool.messages()] == reference
            assert spool.bytes == sum(len(each) for _, each in reference)
            assert spool.bytes <= 100
            assert spool.dropped == dropped
            assert len(list(Path(folder).iterdir())) == len(spool) == len(reference)


def test_boots_keep_their_order_over_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    later, earlier = b"\xff" * 8, b"\x11" * 8
    spool.put((later, 9), b"a")
    spool.put((earlier, 0), b"b")
    (tmp_path / "torn.tmp").write_bytes(b"half")
    again = Spool(tmp_path, 1000)
    assert again.keys() == [(later, 9), (earlier, 0)]
    assert not (tmp_path / "torn.tmp").exists()
    again.put((later, 10), b"c")
    assert Spool(tmp_path, 1000).keys() == [(later, 9), (earlier, 0), (later, 10)]


def test_a_message_that_was_acknowledged_meanwhile_is_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    for number in range(3):
        spool.put((BOOT, number), b"x")
    messages = spool.messages()
    assert next(messages)[0] == (BOOT, 0)
    spool.acknowledge((BOOT, 1))
    assert [key for key, _ in messages] == [(BOOT, 2)]
    assert spool.read((BOOT, 1)) is None


def damages(payload: bytes) -> st.SearchStrategy[bytes]:
    """Other contents of a file: truncated, garbage, empty, changed in one bit, or longer."""
    flipped = st.integers(0, 8 * len(payload) - 1).map(
        lambda bit: bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(payload))
    )
    return st.one_of(
        st.integers(0, len(payload) - 1).map(lambda length: payload[:length]),
        st.binary(max_size=200).filter(lambda other: other != payload),
        flipped,
        st.binary(min_size=1, max_size=200).map(lambda more: payload + more),
    )


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_set_aside_and_all_others_are_read(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        spool = Spool(folder, 10_000)
        payloads = [b"message %d" % number * 5 for number in range(5)]
        for number, payload in enumerate(payloads):
            spool.put((BOOT, number), payload)
        victims = data.draw(st.sets(st.integers(0, 4), min_size=1))
        files = sorted(folder.glob("*.msg"))
        for victim in victims:
            files[victim].write_bytes(data.draw(damages(payloads[victim])))
        if data.draw(st.booleans()):
            spool = Spool(folder, 10_000)
        intact = [(number, payload) for number, payload in enumerate(payloads) if number not in victims]
        assert [(key[1], payload) for key, payload in spool.messages()] == intact
        assert spool.damaged == len(victims)
        assert len(list((folder / "damaged").iterdir())) == len(victims)
        assert spool.bytes == sum(len(payload) for _, payload in intact)
        assert [key[1] for key, _ in Spool(folder, 10_000).messages()] == [number for number, _ in intact]


def test_a_file_truncated_at_any_byte_is_never_sent(tmp_path: Path) -> None:
    payload = bytes(range(64))
    for length in range(len(payload)):
        spool = Spool(tmp_path / str(length), 10_000)
        spool.put((BOOT, 0), payload)
        spool.put((BOOT, 1), b"next")
        (path,) = (tmp_path / str(length)).glob("*-0-*.msg")
        path.write_bytes(payload[:length])
        assert [content for _, content in Spool(tmp_path / str(length), 10_000).messages()] == [b"next"]


@pytest.mark.parametrize(
    "name",
    [
        "x.msg",
        "0000000000000001-zz-0-00.msg",
        "0000000000000001--.msg",
        "-1-aa-0-00.msg",
        "9999999999999999-aabbccddeeff0011-0-00.msg",
        "1-2-3-4-5-6.msg",
        "0000000000000001-aabbccddeeff0011-0.msg",
        "\udcff.msg",
    ],
)
def test_a_file_with_a_foreign_name_or_content_stops_nothing(tmp_path: Path, name: str) -> None:
    Spool(tmp_path, 1000).put((BOOT, 5), b"good")
    (tmp_path / name).write_bytes(b"\xff garbage")
    spool = Spool(tmp_path, 1000, is_batch)
    assert [payload for _, payload in spool.messages()] == [b"good"]
    assert spool.damaged == 1
    spool.put((BOOT, 6), b"later")
    assert [payload for _, payload in Spool(tmp_path, 1000).messages()] == [b"good", b"later"]


def test_an_unreadable_file_and_a_folder_in_its_place_are_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, 1000)
    for number in range(4):
        spool.put((BOOT, number), b"x")
    first, second, third, _ = sorted(tmp_path.glob("*.msg"))
    first.unlink()
    first.mkdir()
    second.unlink()
    second.symlink_to(second)
    opened = Path.open

    def denied(path: Path, *arguments: Any) -> object:  # root may read everything, so permissions cannot deny it
        if path == third:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", denied)
    assert [key for key, _ in spool.messages()] == [(BOOT, 3)]
    assert (spool.damaged, spool.bytes) == (3, 1)


def test_messages_of_a_version_without_digests_are_still_sent(tmp_path: Path) -> None:
    batch = b"\x0a\x02\x20\x05"
    (tmp_path / f"{0:016d}-{BOOT.hex()}-5.msg").write_bytes(batch)
    (tmp_path / f"{1:016d}-{BOOT.hex()}-6.msg").write_bytes(b"")
    (tmp_path / f"{2:016d}-{BOOT.hex()}-7.msg").write_bytes(b"\x0a\xff")
    assert list(Spool(tmp_path, 1000, is_batch).messages()) == [((BOOT, 5), batch)]


def test_the_folder_of_damaged_files_is_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**8)
    for number in range(12):
        spool.put((BOOT, number), bytes(10**6))
    for path in sorted(tmp_path.glob("*.msg")):
        path.write_bytes(b"damaged" * 100_000)
    assert list(spool.messages()) == []
    left = sorted((tmp_path / "damaged").iterdir())
    assert 0 < sum(path.stat().st_size for path in left) <= 4 * 1024 * 1024
    assert left[-1].name.startswith("0000000000000011")


def test_a_full_disk_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256 * 1024) as disk:
        spool, dropped = Spool(disk / "spool", 10**8), 0
        for number in range(40):
            dropped += spool.put((BOOT, number), bytes([number]) * 16_000)
        keys = [key[1] for key, _ in spool.messages()]
        assert 3 < len(keys) < 17
        assert keys == list(range(40 - len(keys), 40))
        assert dropped == spool.dropped == 40 - len(keys)
        assert not list((disk / "spool").glob("*.tmp"))
        again = Spool(disk / "spool", 10**8)
        assert [payload[0] for _, payload in again.messages()] == keys


def test_a_disk_that_others_have_filled_costs_the_message_and_no_exception(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        with (disk / "others").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        spool = Spool(disk / "new" / "spool", 10**8)
        assert spool.put((BOOT, 0), b"x" * 10_000) == 1
        (disk / "others").unlink()
        assert spool.put((BOOT, 1), b"y") == 0
        assert [payload for _, payload in spool.messages()] == [b"y"]


def test_a_disk_that_fails_costs_only_the_new_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting older messages makes room on a full disk; on a broken one it would only lose more."""
    spool = Spool(tmp_path, 1000)
    spool.put((BOOT, 0), b"old")

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        assert spool.put((BOOT, 1), b"new") == 1
    assert [key for key, _ in Spool(tmp_path, 1000).messages()] == [(BOOT, 0)]


def test_a_stored_message_is_synced_before_and_after_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that survives a power failure: content, name, folder."""
    spool = Spool(tmp_path / "spool", 1000)
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append(Path(f"/proc/self/fd/{descriptor}").resolve().suffix)
        fsync(descriptor)

    def replace(draft: str, path: str) -> None:
        steps.append("rename")
        rename(draft, path)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    spool.put((BOOT, 0), b"x")
    assert steps == [".tmp", "rename", ""]


WRITER = """
import sys
from pathlib import Path
from vehicle_agent.spool import Spool
spool, number = Spool(Path(sys.argv[1]), 10**8), int(sys.argv[2])
while True:
    spool.put((bytes(8), number), b"%d " % number * 2000)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    if number % 3 == 0:
        spool.acknowledge((bytes(8), number))
    number += 1
"""


def test_a_kill_loses_no_stored_message_and_leaves_no_partial_one(tmp_path: Path) -> None:
    begin, stored = 0, set()
    for lines in (1, 7, 20, 33, 50):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(begin)], stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        for _ in range(lines):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        last = max([last, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        stored |= set(range(begin, last + 1))
        begin = last + 2
    spool = Spool(tmp_path, 10**8)
    found = {key[1]: payload for key, payload in spool.messages()}
    assert spool.damaged == 0
    assert all(payload == b"%d " % number * 2000 for number, payload in found.items())
    assert {number for number in stored if number % 3} <= set(found)
    assert not list(tmp_path.glob("*.tmp"))
