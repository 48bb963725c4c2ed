"""The converter that docs/drives.md shows works as it stands there, on logs as it describes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fleetloop.domain.clips import read_drive

PAGE = Path(__file__).parents[5] / "docs" / "drives.md"


def test_somebodys_own_logs_become_a_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converter, reader = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in converter.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("t,speed_mps,brake\n1.0,10,0\n1.5,11,0.5\n2.25,9,1\n")
    Path("front").mkdir()
    for tick in range(5):
        picture = Image.fromarray(np.full((8, 8, 3), 40 * tick, np.uint8))
        picture.save(f"front/{1_000_000_000 + tick * 500_000_000}.jpg")
    Path("convert.py").write_text(f"{converter}\nmoment_ns = 3_000_000_000\n{reader}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-W", "error", "convert.py"], env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    drive = read_drive(Path("monday.mcap"))
    assert drive.signals["Vehicle.Speed"].values.tolist() == pytest.approx([36, 39.6, 32.4])
    assert drive.signals["Vehicle.Chassis.Brake.PedalPosition"].values.tolist() == [0, 50, 100]
