from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fleetloop.domain.run_folder import LOCK, RESULT, RunFailure, RunRequest, VersionRef
from training_orchestrator.jobs import TorchrunJobs, job_environment, read_progress

WORKER = """
import fcntl, sys, time
lock = open(sys.argv[-1] + "/lock", "a")
fcntl.flock(lock, fcntl.LOCK_EX)
time.sleep(60)
"""
# As torchrun does it: the launcher starts its worker in a session of the worker's own and waits for it.
LAUNCHER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1], *sys.argv[-2:]], start_new_session=True).wait()
"""

VERSION = VersionRef(table="town.lance", tag="v1", version="v1")
REQUEST_OF_R1 = RunRequest(
    run_id="r1", recipe=Path("first.yaml"), schema_path=Path("tasks.yaml"), seed=1, dataset=VERSION,
    test_set=VERSION, parent=None,
)  # fmt: skip


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


@pytest.fixture
def jobs(tmp_path: Path) -> TorchrunJobs:
    return TorchrunJobs(tmp_path, "no.such.module", 0)


@pytest.fixture
def launched(jobs: TorchrunJobs) -> Iterator[subprocess.Popen[bytes]]:
    """A job that an earlier process started: this process is not its parent."""
    folder = jobs.folder("r1")
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", LAUNCHER, WORKER, "--run-dir", str(folder)]
    launcher = subprocess.Popen(command, start_new_session=True)
    family = [psutil.Process(launcher.pid)]
    try:
        assert until(lambda: jobs.status("r1", 0).running)
        family += family[0].children()
        yield launcher
    finally:
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        launcher.wait()


def test_ending_a_job_ends_the_worker_that_holds_the_lock(
    jobs: TorchrunJobs, launched: subprocess.Popen[bytes]
) -> None:
    jobs.end("r1")
    assert until(lambda: not jobs.status("r1", 0).running)
    assert launched.wait(10) != 0


def test_a_job_of_a_predecessor_is_refused_a_second_launch(
    jobs: TorchrunJobs, launched: subprocess.Popen[bytes]
) -> None:
    assert jobs.starting("r1")
    assert not jobs.launch("r1", REQUEST_OF_R1)
    assert launched.poll() is None


def test_a_run_without_a_process_neither_runs_nor_starts(jobs: TorchrunJobs) -> None:
    jobs.folder("r1").mkdir()
    (jobs.folder("r1") / LOCK).touch()
    assert not jobs.starting("r1")
    assert not jobs.status("r1", 0).running


@pytest.mark.parametrize("content", ["", '{"passed": tr', "[]", "7"])
def test_a_damaged_result_is_an_error_and_not_a_crash(jobs: TorchrunJobs, content: str) -> None:
    jobs.folder("r1").mkdir()
    (jobs.folder("r1") / RESULT).write_text(content)
    result = jobs.status("r1", 0).result
    assert result is not None
    assert isinstance(result, RunFailure) and RESULT in result.error


def test_progress_is_read_by_whole_lines(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_bytes(b'{"step": 1}\n{"st')
    lines, position = read_progress(tmp_path, 0)
    assert (lines, position) == ([{"step": 1}], 12)
    with (tmp_path / "progress.jsonl").open("ab") as file:
        file.write(b'ep": 2}\n')
    assert read_progress(tmp_path, position)[0] == [{"step": 2}]


def test_a_job_gets_no_secret_of_the_service() -> None:
    environ = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "s3",
        "FLEETLOOP_FLEET_ID": "demo",
        **{f"FLEETLOOP_{name}": "secret" for name in ("KAFKA_PASSWORD", "DATABASE_URL", "EVENT_KEY", "SIGNING_KEY")},
    }
    assert job_environment(environ) == {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s3", "FLEETLOOP_FLEET_ID": "demo"}
