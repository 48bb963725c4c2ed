"""The whole training job under torchrun, killed and started again: it exports the model that it would have exported.

The launcher is the orchestrator's. train.py promises that every batch depends only on the seed and the step's number.
So, where no time limit cuts the schedule, the killed job and an undisturbed one export the same bytes.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from tests.unit.perception.nets import RECIPE
from tests.unit.perception.test_job import folder_with

from fleetloop.domain.artifacts import VEHICLE_FILES
from fleetloop.domain.run_folder import read_request
from perception.job import main
from training_orchestrator.jobs import TorchrunJobs


def until(what: str, ask: Callable[[], object], within_s: float = 240.0) -> None:
    deadline = time.monotonic() + within_s
    while not ask():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:.0f} s"
        time.sleep(0.02)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "progress.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def processes_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[-1:] == [str(folder)]:
                found.append(process)
    return found


@pytest.mark.timeout(600)
def test_a_job_killed_under_torchrun_goes_on_and_exports_the_same_bytes(tmp_path: Path) -> None:
    undisturbed = folder_with(tmp_path)
    longer = RECIPE.model_copy(update={"steps": 240})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(longer.model_dump_json())))
    jobs = TorchrunJobs(tmp_path / "runs", "perception.job", nice=0)
    request = read_request(undisturbed)
    killed = jobs.folder("run-1")

    assert jobs.launch("run-1", request)
    until("training", lambda: any(line["stage"] == "train" for line in lines_of(killed)))
    assert not jobs.launch("run-1", request), "a second launch is refused while the first lives"
    _signal(killed, signal.SIGSTOP)  # so that a checkpoint is due at once: there is one every 5 s
    time.sleep(5.1)
    _signal(killed, signal.SIGCONT)
    until("a checkpoint", (killed / "checkpoint" / "checkpoint.safetensors").exists)
    jobs.end("run-1")
    until("death", lambda: not jobs.status("run-1", time.time_ns()).running)
    assert jobs.status("run-1", time.time_ns()).result is None, "it was killed before its end"
    trained = [line["step"] for line in lines_of(killed) if line["stage"] == "train"]

    assert jobs.launch("run-1", request)
    assert main(["--run-dir", str(undisturbed)]) == 0  # meanwhile, the one that is not killed
    until("a result", (killed / "result.json").exists)
    until("its end", lambda: not jobs.starting("run-1") and not jobs._children)
    lines = lines_of(killed)
    again = max(line_number for line_number, line in enumerate(lines) if line["stage"] == "read")
    resumed = [line["step"] for line in lines[again:] if line["stage"] == "train"]
    assert trained[0] < resumed[0] <= 240, "it resumed, and did not start from scratch"

    results = [json.loads((folder / "result.json").read_text()) for folder in (killed, undisturbed)]
    for result in results:  # what an inference costs is measured, and never twice the same
        result["gates"] = [gate for gate in result["gates"] if gate["name"] != "budget"]
        result["reasons"] = [reason for reason in result["reasons"] if "an inference takes" not in reason]
    assert results[0] == results[1]
    for name in (*VEHICLE_FILES, "model.safetensors"):
        assert (killed / "model" / name).read_bytes() == (undisturbed / "model" / name).read_bytes(), name


def _signal(folder: Path, number: signal.Signals) -> None:
    for process in processes_of(folder):
        os.kill(process.pid, number)
