"""`fleetloop up`, `status` and `down` around a real Kafka: in the background, and under a person's Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from fleetloop.api.installation import RunningFleet
from fleetloop.kit.messaging.producer import connection_options
from fleetloop.supervisor.processes import of_run

ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _fleetloop(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fleetloop", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRON)


def _until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


async def test_up_in_the_background_has_the_topics_and_down_leaves_nothing(tmp_path: Path) -> None:
    folder = ("--dir", str(tmp_path))
    up = _fleetloop("up", "--services", "none", "--detach", *folder)
    assert up.returncode == 0, up.stderr
    try:
        fleet = RunningFleet.open(tmp_path)
        admin = AIOKafkaAdminClient(**connection_options(fleet.kafka_settings()))
        await admin.start()
        assert {"fleet.telemetry.v1", "fleet.telemetry.v1.dlq"} <= set(await admin.list_topics())
        await admin.close()
        said = json.loads(_fleetloop("status", "--json", *folder).stdout)
        assert said["up"] is True
        assert {each["name"]: each["state"] for each in said["services"]}["topics"] == "done"
        second = _fleetloop("up", "--services", "none", *folder)
        assert second.returncode == 2
        assert "A fleet is already running" in second.stderr
    finally:
        down = _fleetloop("down", *folder)
    assert down.returncode == 0, down.stderr
    assert fleet.state is not None and of_run(fleet.state.run_id) == []
    assert _fleetloop("status", *folder).returncode == 1


def test_ctrl_c_on_a_terminal_ends_everything(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "fleetloop", "up", "--services", "none", "--dir", str(tmp_path)]
        os.execve(sys.executable, command, {**ENVIRON, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"})
    seen = b""

    def shows(text: bytes) -> bool:
        nonlocal seen
        with suppress(OSError):  # Linux says EIO when the other end is closed
            seen += os.read(terminal, 65_536)
        return text in seen

    _until(lambda: shows(b"done"))
    state = RunningFleet.open(tmp_path).state
    assert state is not None
    os.write(terminal, b"\x03")
    _until(lambda: shows(b"All services are stopped"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert of_run(state.run_id) == []


def test_down_clears_what_a_killed_run_left(tmp_path: Path) -> None:
    folder = ("--dir", str(tmp_path))
    assert _fleetloop("up", "--services", "none", "--detach", *folder).returncode == 0
    state = RunningFleet.open(tmp_path).state
    assert state is not None
    os.kill(state.supervisor.pid, signal.SIGKILL)
    _until(lambda: of_run(state.run_id) == [])
    gone = _fleetloop("status", *folder)
    assert gone.returncode == 1
    assert "supervisor was killed" in gone.stdout
    assert _fleetloop("down", *folder).returncode == 0
    assert not (tmp_path / "run.json").exists()
