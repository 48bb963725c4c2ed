"""The command as people meet it: run for real, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _fleetloop(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    sources = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-m", "fleetloop", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": sources, "NO_COLOR": "1", "COLUMNS": "120", **environ},
    )


def test_a_vehicle_is_enrolled_listed_and_revoked(tmp_path: Path) -> None:
    folder = ("--dir", str(tmp_path / "run dir"))
    enrolled = _fleetloop("vehicles", "enrol", "VIN1", "--out", str(tmp_path / "car"), *folder)
    assert enrolled.returncode == 0, enrolled.stderr
    shell = f'{enrolled.stdout}\ntest -f "$FLEETLOOP_TLS_KEY" && echo $FLEETLOOP_VEHICLE_ID'
    said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert said == "VIN1\n", "what is printed can be pasted into a shell"
    assert _fleetloop("vehicles", "revoke", "VIN1", "--reason", "sold", *folder).returncode == 0
    listed = json.loads(_fleetloop("vehicles", "list", "--json", *folder).stdout)
    assert [(each["spiffe_id"], each["reason"]) for each in listed] == [("spiffe://demo/vehicle/VIN1", "sold")]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("vehicles", "revoke", "VIN9"), "is not enrolled"),
        (("vehicles", "enrol", "a/b"), "use up to 63"),
        (("up", "--services", "nonsense"), "There is no service 'nonsense'"),
        (("up", "--config", "/no/such/folder"), "There is no folder /no/such/folder"),
    ],
)
def test_mistakes_get_a_sentence_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = _fleetloop(*arguments, "--dir", str(tmp_path))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_without_java_maven_or_docker_up_says_what_is_missing(tmp_path: Path) -> None:
    done = _fleetloop("up", "--services", "none", "--dir", str(tmp_path), PATH="/nowhere", JAVA_HOME="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: No Kafka is available: Java 17 or newer is missing")
    assert "KAFKA_BOOTSTRAP_SERVERS" in done.stderr


def test_nothing_is_up_in_an_empty_folder(tmp_path: Path) -> None:
    folder = ("--dir", str(tmp_path))
    asked = _fleetloop("status", "--json", *folder)
    assert asked.returncode == 1
    assert json.loads(asked.stdout) == {"up": False, "folder": str(tmp_path), "run_id": "", "services": []}
    assert _fleetloop("down", *folder).returncode == 0
