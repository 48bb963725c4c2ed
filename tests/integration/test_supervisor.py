"""The supervisor with real processes: order, restarts, verdicts, and that nothing is ever left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fleetloop.embedded.tcp_ports import free_ports
from fleetloop.errors import UserError
from fleetloop.layout import RunLayout
from fleetloop.supervisor import LivePolicy, NotReadyError, Phase, RestartPolicy, ServiceSpec, Supervisor
from fleetloop.supervisor.probes import http_ok
from fleetloop.supervisor.processes import ProcessMark, is_running, mark, of_run
from fleetloop.supervisor.state import RunState, ServiceStatus, read_state, write_state

QUICK = RestartPolicy(first_delay_s=0.05, longest_delay_s=0.2, healthy_after_s=60.0, loop_exits=3)
SLEEP = "import time; time.sleep(600)"
IGNORES_TERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"


def _service(name: str, code: str, *needs: str, **more: object) -> ServiceSpec:
    spec = ServiceSpec(name, (sys.executable, "-S", "-c", textwrap.dedent(code)), needs=needs, grace_s=1.0)
    return replace(spec, **more)  # type: ignore[arg-type]


def _until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _of(supervisor: Supervisor, name: str) -> ServiceStatus:
    return next(each for each in supervisor.status() if each.name == name)


def _process(supervisor: Supervisor, name: str) -> ProcessMark:
    process = _of(supervisor, name).process
    assert process is not None
    return process


def _is_up(path: Path) -> Callable[[float], bool]:
    return lambda _: path.exists()


def test_starts_follow_readiness_and_stops_go_the_other_way(tmp_path: Path) -> None:
    told: list[tuple[str, Phase]] = []
    flag = tmp_path / "flag"
    slow = f"import time, pathlib; time.sleep(.4); pathlib.Path({str(flag)!r}).touch(); time.sleep(600)"
    specs = [
        _service("last", SLEEP, "step"),
        _service("step", "pass", "first", task=True),
        _service("first", slow, ready=_is_up(flag)),
    ]
    supervisor = Supervisor(specs, tmp_path / "run", on_change=lambda each: told.append((each.name, each.phase)))
    with supervisor:
        supervisor.wait_ready(10)
        assert flag.exists()
    order = [each for each in told if each[1] in (Phase.STARTING, Phase.READY, Phase.DONE)]
    assert order == [
        ("first", Phase.STARTING), ("first", Phase.READY),
        ("step", Phase.STARTING), ("step", Phase.DONE),
        ("last", Phase.STARTING), ("last", Phase.READY),
    ]  # fmt: skip
    assert told.index(("last", Phase.STOPPING)) < told.index(("first", Phase.STOPPING))
    assert not RunLayout.at(tmp_path / "run").state_file.exists()


def test_a_killed_service_is_back_and_its_cpu_time_is_not_forgotten(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < .35: pass\nprint('burnt', flush=True); time.sleep(600)"
    with Supervisor([_service("a", burn)], tmp_path, restart=QUICK) as supervisor:
        _until(lambda: supervisor.cpu_seconds()["a"] >= 0.3)
        for round_ in range(1, 6):  # more often than a crash loop would allow
            before = _process(supervisor, "a")
            assert supervisor.kill("a") == before.pid
            _until(lambda before=before: _of(supervisor, "a").process not in (None, before))  # type: ignore[misc]
            assert _of(supervisor, "a").restarts == round_
        assert _of(supervisor, "a").last_exit == -signal.SIGKILL
        _until(lambda: supervisor.cpu_seconds()["a"] >= 0.6)


def test_a_crash_loop_is_given_up_with_its_last_words_and_can_be_restarted(tmp_path: Path) -> None:
    cure = tmp_path / "cure"
    code = (
        f"import sys, time, os\nprint('no database')\nif os.path.exists({str(cure)!r}): time.sleep(600)\nsys.exit(3)"
    )
    with Supervisor([_service("bad", code), _service("good", SLEEP)], tmp_path / "r", restart=QUICK) as supervisor:
        with pytest.raises(NotReadyError, match=r"(?s)bad: crash loop \(exited with 3.*no database"):
            supervisor.wait_ready(10)
        supervisor.wait_ready(5, ["good"])
        assert _of(supervisor, "bad").restarts == 2
        cure.touch()
        supervisor.restart("bad")
        supervisor.wait_ready(10)


def test_a_broken_dependency_is_waited_out(tmp_path: Path) -> None:
    with Supervisor([_service("a", "raise SystemExit(70)")], tmp_path, restart=QUICK) as supervisor:
        _until(lambda: _of(supervisor, "a").restarts > QUICK.loop_exits)
        assert _of(supervisor, "a").phase is not Phase.CRASH_LOOP


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with (
        Supervisor([ServiceSpec("a", ("/no/such/thing",))], tmp_path, restart=QUICK) as supervisor,
        pytest.raises(NotReadyError, match="cannot run /no/such/thing: No such file"),
    ):
        _until(lambda: _of(supervisor, "a").phase is Phase.CRASH_LOOP)
        supervisor.wait_ready(5)


def test_a_service_that_never_gets_ready_is_started_again(tmp_path: Path) -> None:
    spec = _service("a", SLEEP, ready=lambda _: False, ready_within_s=0.3)
    with Supervisor([spec], tmp_path, restart=QUICK) as supervisor:
        _until(lambda: _of(supervisor, "a").restarts >= 1)
        with pytest.raises(NotReadyError, match="a: "):
            supervisor.wait_ready(0.2)


def test_a_frozen_service_is_killed_and_started_again(tmp_path: Path) -> None:
    port = free_ports(1, random.Random())[0]
    server = f"""
        import http.server
        class Ok(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200); self.end_headers()
        http.server.ThreadingHTTPServer(("127.0.0.1", {port}), Ok).serve_forever()
    """
    address = f"127.0.0.1:{port}"
    spec = _service("a", server, ready=http_ok(address, "/readyz"), live=http_ok(address, "/livez"))
    live = LivePolicy(period_s=0.1, timeout_s=0.6, failures=3)
    notes: list[str] = []
    with Supervisor(
        [spec], tmp_path, restart=QUICK, live=live, on_change=lambda each: notes.append(each.note)
    ) as supervisor:
        supervisor.wait_ready(20)
        frozen = _process(supervisor, "a")
        time.sleep(0.5)
        assert _process(supervisor, "a") == frozen, "a service that answers keeps running"
        os.kill(frozen.pid, signal.SIGSTOP)
        _until(lambda: not is_running(frozen))
        supervisor.wait_ready(20)
        assert any("frozen" in note for note in notes)


def test_stop_ends_the_stubborn_and_those_that_left_their_group(tmp_path: Path) -> None:
    parent = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-S", "-c", {SLEEP!r}], start_new_session=True)
        subprocess.Popen([sys.executable, "-S", "-c", {IGNORES_TERM!r}])
        time.sleep(600)
    """
    supervisor = Supervisor([_service("parent", parent), _service("stubborn", IGNORES_TERM)], tmp_path)
    with supervisor:
        _until(lambda: len(of_run(supervisor.run_id)) == 4)
        _until(lambda: b"up" in supervisor.log_path("stubborn").read_bytes())
        began = time.monotonic()
    assert of_run(supervisor.run_id) == []
    assert time.monotonic() - began < 6.0


def test_a_job_in_its_own_session_outlives_its_service_but_not_the_run(tmp_path: Path) -> None:
    parent = f"""
        import os, subprocess, sys, time
        if not os.path.exists({str(tmp_path / "job")!r}):
            job = subprocess.Popen([sys.executable, "-S", "-c", {SLEEP!r}], start_new_session=True)
            open({str(tmp_path / "job")!r}, "w").write(str(job.pid))
        time.sleep(600)
    """
    with Supervisor([_service("a", parent)], tmp_path / "run", restart=QUICK) as supervisor:
        _until(lambda: (tmp_path / "job").exists() and (tmp_path / "job").read_text() != "")
        job = mark(int((tmp_path / "job").read_text()))
        assert job is not None
        supervisor.kill("a")
        _until(lambda: _of(supervisor, "a").restarts == 1 and _of(supervisor, "a").ready)
        assert is_running(job)
    assert not is_running(job)


_HOST = """
import sys, time
from pathlib import Path
from fleetloop.supervisor import ServiceSpec, Supervisor
code = '''
import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
print("up", flush=True)
time.sleep(600)
'''
supervisor = Supervisor([ServiceSpec("a", (sys.executable, "-S", "-c", code))], Path(sys.argv[1]))
supervisor.start()
time.sleep(600)
"""


def _hosted(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A supervisor in a process of its own; returns when its service and that one's own child run."""
    host = subprocess.Popen([sys.executable, "-c", _HOST, str(folder)], env=_with_sources())
    state: RunState | None = None

    def is_complete() -> bool:
        nonlocal state
        state = read_state(folder / "run.json")
        return state is not None and len(of_run(state.run_id)) == 2

    _until(is_complete)
    assert state is not None
    return host, state.run_id


def _with_sources() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    host, run_id = _hosted(tmp_path)
    host.kill()
    host.wait()
    _until(lambda: of_run(run_id) == [])
    with Supervisor([_service("b", SLEEP)], tmp_path) as supervisor:
        supervisor.wait_ready(5)


def test_what_a_killed_supervisor_and_guard_left_is_ended_by_the_next_start(tmp_path: Path) -> None:
    host, run_id = _hosted(tmp_path)
    guards = [each for each in psutil.Process(host.pid).children() if "fleetloop.supervisor.guard" in each.cmdline()]
    os.kill(host.pid, signal.SIGSTOP)  # or it would start another guard
    for guard in guards:
        guard.kill()
    assert len(guards) == 1
    host.kill()
    host.wait()
    _until(lambda: len(of_run(run_id)) == 1)  # the child in its own session, which the kernel's mark does not reach
    with Supervisor([_service("b", SLEEP)], tmp_path) as supervisor:
        assert of_run(run_id) == []
        supervisor.wait_ready(5)


def test_a_stranger_with_a_recorded_process_id_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-S", "-c", SLEEP])
    try:
        old = ProcessMark(stranger.pid, "another boot:1")
        service = ServiceStatus("a", Phase.READY, tmp_path / "a.log", process=old)
        write_state(tmp_path / "run.json", RunState("0" * 16, ProcessMark(stranger.pid, "x"), {}, (service,)))
        with Supervisor([_service("b", SLEEP)], tmp_path) as supervisor:
            supervisor.wait_ready(5)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_second_supervisor_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        Supervisor([_service("a", SLEEP)], tmp_path),
        pytest.raises(UserError, match="already running in"),
    ):
        Supervisor([_service("a", SLEEP)], tmp_path).start()


def test_every_line_of_a_talkative_service_is_in_its_logs(tmp_path: Path) -> None:
    lines = 200_000
    code = f"for n in range({lines}): print(n, 'x' * 40)"
    with Supervisor([_service("a", code, task=True)], tmp_path) as supervisor:
        supervisor.wait_ready(30)
    logs = [tmp_path / "logs" / name for name in ("a.log.1", "a.log")]
    found = [int(line.split()[0]) for log in logs for line in log.read_text().splitlines()]
    assert found == list(range(lines))
    assert all(log.stat().st_size <= 8 * 1024 * 1024 + 65_536 for log in logs)
