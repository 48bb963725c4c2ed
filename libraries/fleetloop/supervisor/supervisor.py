"""Start services in the order of their needs, restart those that end, and stop all of them at the end.

One thread does all of this from `start` to `stop`; other threads only ask, signal, or wait. Three mechanisms together
leave no process behind: the orderly stop, the kernel's death signal for every child (launcher.py), and the guard
(guard.py), which also finds processes that services have started.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO

from fleetloop.errors import UserError
from fleetloop.layout import RunLayout
from fleetloop.supervisor.child import Child
from fleetloop.supervisor.logs import LogPump, last_lines
from fleetloop.supervisor.processes import RUN_ID_VARIABLE, ProcessMark, mark, sweep
from fleetloop.supervisor.restart import RestartPolicy
from fleetloop.supervisor.spec import LivePolicy, ServiceSpec, in_start_order
from fleetloop.supervisor.state import (
    Phase,
    RunState,
    ServiceStatus,
    StateError,
    clean_up_outside,
    read_state,
    write_state,
)

_TICK_S = 0.1


class NotReadyError(Exception):
    """Services did not become ready in time. The message names them with the reason and their last log lines."""


class Supervisor:
    """Runs services below a folder. Use it as a context manager, or call `start` and `stop`.

    `start` returns at once; `wait_ready` waits. A second supervisor in the same folder is refused with UserError.
    Processes that a killed supervisor left in the folder are stopped first.

    Args:
        specs: The services.
        folder: The run's folder.
        restart: When to restart a service.
        live: When a service counts as frozen.
        starting_at_once: Most services that start at the same time; by default the number of cores, at least 2.
        info: Stored in the state file for clients.
        on_change: Called with every change of a service's status, from the supervisor's thread.
        lock: The folder's lock, if the caller holds it already. It is released when all processes have ended.
    """

    def __init__(
        self,
        specs: Sequence[ServiceSpec],
        folder: Path,
        *,
        restart: RestartPolicy | None = None,
        live: LivePolicy | None = None,
        starting_at_once: int | None = None,
        info: Mapping[str, str] | None = None,
        on_change: Callable[[ServiceStatus], None] | None = None,
        lock: IO[str] | None = None,
    ) -> None:
        self._layout = RunLayout.at(folder)
        self._specs = in_start_order(specs)
        self._restart = restart or RestartPolicy()
        self._live = live or LivePolicy()
        self._starting_at_once = starting_at_once or max(2, os.cpu_count() or 1)
        self._info = dict(info or {})
        self._on_change = on_change
        self.run_id = secrets.token_hex(8)
        self._env = {**os.environ, RUN_ID_VARIABLE: self.run_id}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._children: dict[str, Child] = {}
        self._shown: dict[str, ServiceStatus] = {}
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock_file = lock
        self._guard: subprocess.Popen[bytes] | None = None
        self._guard_pipe: int | None = None

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- start and stop

    def start(self) -> None:
        """Start the supervisor's thread and return at once."""
        if self._thread is not None:
            raise RuntimeError("a supervisor starts once")
        self._layout.root.mkdir(parents=True, exist_ok=True)
        self._lock_file = self._lock_file or lock_folder(self._layout)
        try:
            clear_leftovers(self._layout)
        except UserError:
            self._lock_file.close()
            raise
        self._pump = LogPump()
        for spec in self._specs:
            log_path = self._layout.logs / f"{spec.name}.log"
            self._children[spec.name] = Child(spec, log_path, self._restart, self._live)
        own = mark(os.getpid())
        assert own is not None
        self._own: ProcessMark = own
        with self._changed:
            self._publish()
        self._start_guard()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self, *, hurry: bool = False) -> None:
        """Stop all services, dependents first, and wait for it. With `hurry`, skip grace periods. Idempotent."""
        if self._thread is None:
            return
        if hurry:
            self._hurry.set()
        self._stopping.set()
        while self._thread.is_alive():  # in slices, so that a second Ctrl-C gets through to the caller
            self._thread.join(0.2)

    def wait_ready(self, timeout_s: float = 300.0, names: Sequence[str] | None = None) -> None:
        """Wait until `names` (all by default) are ready.

        Raises NotReadyError at the first crash loop, or after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            wanted = [self._children[name] for name in self._with_needs(names or list(self._children))]
            while True:
                late = [child for child in wanted if child.phase not in (Phase.READY, Phase.DONE)]
                if not late:
                    return
                broken = [child for child in late if child.phase is Phase.CRASH_LOOP]
                if broken:
                    raise NotReadyError("\n".join(_describe(child) for child in broken))
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._stopping.is_set():
                    raise NotReadyError("\n".join(_describe(child) for child in late))
                self._changed.wait(min(left_s, 1.0))

    # --- for any thread

    def status(self) -> tuple[ServiceStatus, ...]:
        """Return the status of all services."""
        with self._lock:
            return tuple(child.status(with_cpu=True) for child in self._children.values())

    def cpu_seconds(self) -> dict[str, float]:
        """Return user and system seconds by service, over all its processes and their children."""
        with self._lock:
            return {name: child.cpu_s() for name, child in self._children.items()}

    def log_path(self, service: str) -> Path:
        """Return the path of a service's log."""
        return self._children[service].log_path

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a service, as a chaos test does. This does not count as a failure. Returns the process
        id.
        """
        with self._lock:
            return self._children[service].kill(number)

    def restart(self, service: str) -> None:
        """Restart a service, also one in a crash loop."""
        with self._lock:
            child = self._children[service]
            child.forgive(time.monotonic())
            if child.running:
                child.kill(signal.SIGTERM)

    # --- the thread

    def _run(self) -> None:
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="probe") as probes:
            try:
                while not self._stopping.wait(_TICK_S):
                    self._tick(probes)
                while self._tick_down(probes):
                    self._hurry.wait(_TICK_S / 2)
            finally:
                self._finish()

    def _tick(self, probes: ThreadPoolExecutor) -> None:
        now_s = time.monotonic()
        with self._changed:
            starting = sum(child.phase is Phase.STARTING for child in self._children.values())
            for child in self._children.values():
                child.watch(now_s, probes)
                if child.due(now_s) and starting < self._starting_at_once and self._needs_are_met(child):
                    child.launch(now_s, self._env, self._pump)
                    starting += 1
            self._publish()
        if self._guard is not None and self._guard.poll() is not None:
            self._start_guard()

    def _tick_down(self, probes: ThreadPoolExecutor) -> bool:
        """Stop the services that no running service needs. Returns False when all have ended."""
        now_s = time.monotonic()
        with self._changed:
            for child in self._children.values():
                child.watch(now_s, probes)
            needed: set[str] = set()
            for name, child in reversed(self._children.items()):  # a service comes after those that it needs
                if child.running or name in needed:
                    needed.update(child.spec.needs)
            for name, child in self._children.items():
                if not child.running or name not in needed or self._hurry.is_set():
                    child.stop(now_s, patient=not self._hurry.is_set())
            self._publish()
            return any(child.running for child in self._children.values())

    def _needs_are_met(self, child: Child) -> bool:
        """Return True if the service may start. A restart does not wait: a lost dependency is an exit with 70."""
        if child.phase is Phase.BACKOFF:
            return True
        return all(self._children[name].phase in (Phase.READY, Phase.DONE) for name in child.spec.needs)

    def _with_needs(self, names: Sequence[str]) -> list[str]:
        wanted = dict.fromkeys(names)
        for name in reversed(self._children):  # a service comes after those that it needs
            if name in wanted:
                wanted.update(dict.fromkeys(self._children[name].spec.needs))
        return list(wanted)

    def _publish(self) -> None:
        """Publish changes to the state file, to the callback, and to waiting threads."""
        changed = []
        for name, child in self._children.items():
            status = child.status(with_cpu=False)
            if self._shown.get(name) != status:
                self._shown[name] = status
                changed.append(status)
        if not changed:
            return
        write_state(self._layout.state_file, self._state())
        self._changed.notify_all()
        if self._on_change is not None:
            for status in changed:
                self._on_change(status)

    def _state(self) -> RunState:
        return RunState(self.run_id, self._own, self._info, tuple(self._shown.values()))

    # --- guard and clean-up

    def _start_guard(self) -> None:
        if self._guard_pipe is not None:
            os.close(self._guard_pipe)
        read_end, self._guard_pipe = os.pipe()
        source_root = str(Path(__file__).parents[2])
        python_path = os.pathsep.join(filter(None, [source_root, os.environ.get("PYTHONPATH")]))
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "fleetloop.supervisor.guard", self.run_id, str(self._layout.state_file)],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": python_path},
            start_new_session=True,
        )
        os.close(read_end)

    def _finish(self) -> None:
        if self._guard_pipe is not None and self._guard is not None:
            os.close(self._guard_pipe)
            self._guard_pipe = None
            try:
                self._guard.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
                sweep(self.run_id, self._state().marks(), grace_s=0)
        self._pump.close()
        for child in self._children.values():
            child.close()
        self._layout.state_file.unlink(missing_ok=True)
        if self._lock_file is not None:
            self._lock_file.close()
        with self._changed:
            self._changed.notify_all()


def lock_folder(layout: RunLayout) -> IO[str]:
    """Lock a run's folder for as long as the returned file is open. Raises UserError if it is locked already."""
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.root.chmod(0o700)  # a folder of an earlier version may be open to others
    file = layout.lock_file.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"A fleet is already running in {layout.root}.",
            "See `fleetloop status`, stop it with `fleetloop down`, or name another folder with --dir.",
        ) from None
    return file


def clear_leftovers(layout: RunLayout) -> int:
    """Stop the processes that a killed supervisor has left in this folder, and return their number.

    Call it while holding the folder's lock.
    """
    try:
        state = read_state(layout.state_file)
    except StateError as error:
        raise UserError(f"{error}.", "Stop the run with the version that started it.") from error
    if state is None:
        return 0
    left = sweep(state.run_id, state.marks())
    clean_up_outside(state)
    layout.state_file.unlink(missing_ok=True)
    return left


def _describe(child: Child) -> str:
    lines = "".join(f"\n    {line}" for line in last_lines(child.log_path, 8))
    why = f" ({child.note})" if child.note else ""
    return f"{child.spec.name}: {child.phase.value}{why}; its log {child.log_path} ends with:{lines or ' nothing'}"
