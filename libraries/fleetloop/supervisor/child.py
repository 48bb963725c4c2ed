"""One service and its current process. Every change of phase happens here.

Not thread-safe: the supervisor calls it from one thread, which lives as long as the run because the kernel ties a
child's death to the thread that started it, and holds its lock meanwhile.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from fleetloop.supervisor.logs import LogPump, RotatingLog
from fleetloop.supervisor.processes import ProcessMark, cpu_seconds, mark
from fleetloop.supervisor.restart import Ended, GiveUp, History, RestartPolicy, after_exit
from fleetloop.supervisor.spec import LivePolicy, ServiceSpec
from fleetloop.supervisor.state import Phase, ServiceStatus

_LAUNCHER = Path(__file__).with_name("launcher.py")
_READY_EVERY_S = 0.2
_READY_TIMEOUT_S = 2.0


class Child:
    """A service under supervision: starts its process, probes it, restarts it, and stops it."""

    def __init__(self, spec: ServiceSpec, log_path: Path, restart: RestartPolicy, live: LivePolicy) -> None:
        self.spec = spec
        self.phase = Phase.WAITING
        self.note = ""
        self.restarts = 0
        self.last_exit: int | None = None
        self.log_path = log_path
        self._log = RotatingLog(log_path)
        self._restart = restart
        self._live = live
        self._history = History()
        self._process: subprocess.Popen[bytes] | None = None
        self._mark: ProcessMark | None = None
        self._ended_cpu_s = 0.0
        self._started_s = 0.0
        self._ready_s: float | None = None
        self._due_s = 0.0
        self._kill_at_s: float | None = None
        self._kill_requested = False
        self._probe: Future[bool] | None = None
        self._probe_due_s = 0.0
        self._live_failures = 0

    # --- state

    @property
    def running(self) -> bool:
        """True while the service has a process."""
        return self._process is not None

    def cpu_s(self) -> float:
        """Return user and system seconds of all the service's processes, past and present."""
        return self._ended_cpu_s + (cpu_seconds(self._process.pid) if self._process else 0.0)

    def status(self, *, with_cpu: bool) -> ServiceStatus:
        """Return the status; without `with_cpu`, CPU time covers only processes that have ended."""
        return ServiceStatus(
            name=self.spec.name,
            phase=self.phase,
            log=self.log_path,
            process=self._mark,
            restarts=self.restarts,
            ports=dict(self.spec.ports),
            cpu_s=self.cpu_s() if with_cpu else self._ended_cpu_s,
            last_exit=self.last_exit,
            note=self.note,
            after_stop=self.spec.after_stop,
        )

    # --- operations of the supervisor

    def launch(self, now_s: float, base_env: Mapping[str, str], pump: LogPump) -> None:
        """Start the process with its output connected to the service's log."""
        write_end = pump.attach(self._log)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *self.spec.command],
                env={**base_env, "PYTHONUNBUFFERED": "1", **self.spec.env},
                cwd=self.spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        self._mark = mark(self._process.pid)
        self._started_s, self._ready_s = now_s, None
        self._kill_at_s, self._kill_requested, self._live_failures = None, False, 0
        self._probe, self._probe_due_s = None, now_s
        self.phase, self.note = Phase.STARTING, ""

    def watch(self, now_s: float, probes: ThreadPoolExecutor) -> None:
        """Handle the end of the process, the answer of a probe, or a deadline that has passed."""
        if self._process is None:
            return
        if self._collect(now_s):
            return
        if self._kill_at_s is not None:
            if now_s >= self._kill_at_s:
                self._signal_group(signal.SIGKILL)
            return
        if self.phase is Phase.STARTING:
            self._watch_start(now_s, probes)
        elif self.phase is Phase.READY and self.spec.live is not None:
            self._watch_liveness(now_s, probes)

    def due(self, now_s: float) -> bool:
        """Return True if the service may be started now, provided that its needs are met."""
        return self.phase is Phase.WAITING or (self.phase is Phase.BACKOFF and now_s >= self._due_s)

    def stop(self, now_s: float, *, patient: bool = True) -> None:
        """Stop the process with SIGTERM, and with SIGKILL after the grace period, or at once if not `patient`."""
        if self._process is None:
            if self.phase is not Phase.STOPPED:
                self.phase = Phase.STOPPED
            return
        if self.phase is not Phase.STOPPING:
            self.phase = Phase.STOPPING
            self._signal(signal.SIGTERM)
            self._kill_at_s = now_s + self.spec.grace_s
        if not patient:
            self._kill_at_s = now_s

    def kill(self, number: signal.Signals) -> int:
        """Send a signal to the running process and return its id. Raises ProcessLookupError if there is none."""
        if self._process is None:
            raise ProcessLookupError(f"{self.spec.name} is not running")
        self._kill_requested = True
        self._signal(number)
        return self._process.pid

    def forgive(self, now_s: float) -> None:
        """Reset the failures of a service, so that one in a crash loop is started again."""
        self._history = History()
        if self.phase in (Phase.CRASH_LOOP, Phase.BACKOFF):
            self.phase, self._due_s, self.note = Phase.BACKOFF, now_s, ""

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    # --- internals

    def _watch_start(self, now_s: float, probes: ThreadPoolExecutor) -> None:
        if not self.spec.task:
            answer = True if self.spec.ready is None else self._ask(now_s, probes, start=True)
            if answer:
                self.phase, self._ready_s = Phase.READY, now_s
                self._probe_due_s = now_s + self._live.period_s
                return
        if now_s - self._started_s > self.spec.ready_within_s:
            self.note = f"not ready after {self.spec.ready_within_s:g} s"
            self._kill_at_s = now_s

    def _watch_liveness(self, now_s: float, probes: ThreadPoolExecutor) -> None:
        answer = self._ask(now_s, probes, start=False)
        if answer is None:
            return
        self._live_failures = 0 if answer else self._live_failures + 1
        if self._live_failures >= self._live.failures:
            self.note = f"frozen: {self._live_failures} liveness probes failed in a row"
            self._kill_at_s = now_s

    def _ask(self, now_s: float, probes: ThreadPoolExecutor, *, start: bool) -> bool | None:
        """Return the answer of the probe that was sent earlier, None if there is none yet. Sends the next when
        due.
        """
        if self._probe is not None:
            if not self._probe.done():
                return None
            answer, self._probe = self._probe.result(), None
            self._probe_due_s = now_s + (_READY_EVERY_S if start else self._live.period_s)
            return answer
        probe = self.spec.ready if start else self.spec.live
        if now_s >= self._probe_due_s and probe is not None:
            self._probe = probes.submit(probe, _READY_TIMEOUT_S if start else self._live.timeout_s)
        return None

    def _collect(self, now_s: float) -> bool:
        """Handle the end of the process. Returns False while it runs."""
        process = self._process
        assert process is not None
        # First without reaping: while the zombie keeps its id, the kernel gives the group's id to no other process.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._signal_group(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        self._ended_cpu_s += usage.ru_utime + usage.ru_stime
        self._process = self._mark = None
        self.last_exit = code
        if self.phase is Phase.STOPPING:
            self.phase = Phase.STOPPED
            return True
        if self.spec.task and code == 0:
            self.phase, self.note = Phase.DONE, ""
            return True
        ready_for_s = None if self._ready_s is None else now_s - self._ready_s
        ended = Ended(code, ready_for_s, requested=self._kill_requested)
        self._history, decision = after_exit(self._restart, self._history, ended)
        reason = self.note or _in_words(code)
        if isinstance(decision, GiveUp):
            self.phase = Phase.CRASH_LOOP
            self.note = f"{reason}; not restarted after {decision.failures} failures in a row"
        else:
            self.phase, self.note = Phase.BACKOFF, reason
            self._due_s = now_s + decision.delay_s
            self.restarts += 1
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def _in_words(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exited with {code}"
