"""Rotation keeps whole lines and the newest bytes, whatever sizes they come in."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.supervisor.logs import LogPump, RotatingLog, last_lines


@settings(max_examples=60)
@given(st.lists(st.integers(1, 300), max_size=40), st.integers(310, 1000))
def test_files_end_with_whole_lines_and_together_are_the_newest_of_the_stream(sizes: list[int], limit: int) -> None:
    stream = b"".join(b"%d:" % n + b"x" * size + b"\n" for n, size in enumerate(sizes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.log"
        log = RotatingLog(path, limit_bytes=limit, keep=2)
        for start in range(0, len(stream), 37):
            log.write(stream[start : start + 37])
        log.close()
        parts = [p.read_bytes() for p in (path.with_name("a.log.2"), path.with_name("a.log.1"), path) if p.exists()]
    assert stream.endswith(b"".join(parts))
    assert all(part.endswith(b"\n") for part in parts[:-1])


def test_a_log_is_continued_by_the_next_run(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        log = RotatingLog(tmp_path / "a.log")
        log.write(text)
        log.close()
    assert last_lines(tmp_path / "a.log") == ["one", "two"]
    assert last_lines(tmp_path / "none.log") == []


def test_closing_the_pump_writes_what_is_still_in_the_pipes(tmp_path: Path) -> None:
    pump, log = LogPump(), RotatingLog(tmp_path / "a.log")
    end = pump.attach(log)
    os.write(end, b"first\n" * 5000)
    os.write(end, b"last\n")
    pump.close()
    log.close()
    os.close(end)
    assert (tmp_path / "a.log").read_bytes() == b"first\n" * 5000 + b"last\n"


def test_a_line_that_never_ends_does_not_fill_the_disk(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", limit_bytes=100, keep=1)
    for _ in range(1000):
        log.write(b"progress\r")
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500
