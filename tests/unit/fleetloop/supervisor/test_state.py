"""The state file reads back as it was written, and other files are refused by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fleetloop.supervisor.processes import ProcessMark, is_running, mark, send
from fleetloop.supervisor.state import (
    Phase,
    RunState,
    ServiceStatus,
    StateError,
    clean_up_outside,
    read_state,
    write_state,
)


def _state(folder: Path) -> RunState:
    ready = ServiceStatus(
        "a", Phase.READY, folder / "a.log", process=ProcessMark(7, "boot:1"), ports={"grpc": 1}, cpu_s=1.5
    )
    ended = ServiceStatus("b", Phase.CRASH_LOOP, folder / "b.log", restarts=4, last_exit=-9, note="killed")
    return RunState("1f", ProcessMark(8, "boot:2"), {"fleet_id": "demo"}, (ready, ended))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_state(tmp_path / "run.json", _state(tmp_path))
    assert read_state(tmp_path / "run.json") == _state(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "run.json"]


def test_no_file_is_no_run(tmp_path: Path) -> None:
    assert read_state(tmp_path / "run.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1, "run_id": "a"}'])
def test_other_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StateError, match=r"run\.json"):
        read_state(tmp_path / "run.json")


def test_clean_up_commands_run_and_may_fail(tmp_path: Path) -> None:
    services = tuple(
        ServiceStatus(name, Phase.STOPPED, tmp_path / "x.log", after_stop=command)
        for name, command in (("a", ("/no/such",)), ("b", ("touch", str(tmp_path / "done"))))
    )
    clean_up_outside(RunState("1f", ProcessMark(8, "x"), {}, services))
    assert (tmp_path / "done").exists()


def test_a_mark_is_this_process_and_no_later_one_with_its_id() -> None:
    own = mark(os.getpid())
    assert own is not None
    assert is_running(own)
    assert not is_running(ProcessMark(own.pid, "another start"))
    assert mark(2**22 + 1) is None
    assert not send(ProcessMark(own.pid, "another start"), signal.SIGKILL)
