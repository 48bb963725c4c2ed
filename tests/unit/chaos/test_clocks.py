"""A process's wall clock can be set wrong while it runs; its monotonic clock and its sleeps stay right."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.chaos.clocks import Clocks, clocks_missing

_PROGRAM = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, UTC
pool = ThreadPoolExecutor(2)
for line in sys.stdin:
    before = time.monotonic(), time.process_time()
    list(pool.map(time.sleep, [0.3, 0.3]))
    slept_s, busy_s = time.monotonic() - before[0], time.process_time() - before[1]
    print(time.time(), datetime.now(UTC).timestamp(), slept_s, busy_s, flush=True)
"""


@pytest.mark.skipif(bool(clocks_missing()), reason=clocks_missing())
def test_the_wall_clock_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    env = {**os.environ, **clocks.environment("a")}
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for offset_s in (0, 90, -45, 0):
            clocks.set("a", offset_s)
            process.stdin.write("\n")
            process.stdin.flush()
            wall_s, date_s, slept_s, busy_s = map(float, process.stdout.readline().split())
            assert abs(wall_s - time.time() - offset_s) < 2 and abs(date_s - wall_s) < 1
            assert 0.29 < slept_s < 5 and busy_s < 0.2
