"""The life of a process: signals, background tasks, the order of stopping, and the exit code.

A background task that fails ends the process with exit code 70, so that the supervisor restarts it from what is
committed. On SIGTERM or SIGINT, background tasks first finish what they have in hand; then servers close. A wrong
setting or configuration file ends the process with exit code 2, because a restart would not help.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.exit_codes import EXIT_BROKEN_DEPENDENCY, EXIT_USAGE
from fleetloop.kit.process.health_server import HealthServer
from fleetloop.kit.process.logs import configure_logs, get_logger
from fleetloop.kit.process.private_files import keep_files_private
from fleetloop.kit.process.renewal import RenewalWatch
from fleetloop.kit.process.settings import ServiceSettings, SettingsError, load_settings
from fleetloop.kit.process.tracing import configure_tracing

log = get_logger(__name__)
S = TypeVar("S", bound=ServiceSettings)


class Runtime:
    """Runs the background tasks and the clean-up that a composition root registers."""

    def __init__(self, service: str, settings: ServiceSettings) -> None:
        self.service = service
        self.stopping = asyncio.Event()
        self.http = HealthServer(settings.http_listen)
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._cleanups: list[Callable[[], Awaitable[object]]] = []
        self._started = False
        if settings.tls_cert is not None:
            name = f"{service}/{settings.instance_id}"
            files = [path for path in (settings.tls_cert, settings.tls_ca) if path is not None]
            watch = RenewalWatch(files, name, settings.renewal_within_s, SystemClock())
            self.http.add_liveness("certificate", watch.problem)
        self.http.add_readiness("start", lambda: None if self._started else "still starting")

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Runs `work` as a background task, which has to end once `stopping` is set. Its failure ends the process."""
        self._tasks[asyncio.create_task(work, name=name)] = name

    def on_stop(self, cleanup: Callable[[], Awaitable[object]]) -> None:
        """Registers clean-up. It runs after all background tasks have ended, last registered first."""
        self._cleanups.append(cleanup)

    async def run(self, start: Callable[[Runtime], Awaitable[None]]) -> int:
        """Starts the process, runs it until a signal or a failure, stops it, and returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        failed = wrong = False
        try:
            await self.http.start()
            await start(self)
            self._started = True
            log.info("started", http_port=self.http.port)
            failed = await self._wait()
        except SettingsError as error:
            log.error("wrong_settings", problems=str(error).splitlines())
            wrong = True
        except ValueError:  # raised for the signal catalogue, the task schema and other files that people edit
            log.exception("wrong_settings")
            wrong = True
        except Exception:
            log.exception("start_failed")
            failed = True
        finally:
            self.stopping.set()
            failed |= await self._stop()
        log.info("stopped", failed=failed or wrong)
        if wrong:
            return EXIT_USAGE
        return EXIT_BROKEN_DEPENDENCY if failed else 0

    async def _wait(self) -> bool:
        stop = asyncio.create_task(self.stopping.wait())
        done, _ = await asyncio.wait({stop, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        return self._report(done - {stop})

    def _report(self, done: set[asyncio.Task[Any]]) -> bool:
        failed = False
        for task in done:
            if task.cancelled():
                continue
            error = task.exception()
            if error is not None:
                failed = True
                log.error("task_failed", task=self._tasks[task], exc_info=error)
            elif not self.stopping.is_set():
                failed = True
                log.error("task_ended_early", task=self._tasks[task])
        return failed

    async def _stop(self) -> bool:
        failed = False
        if self._tasks:
            done, pending = await asyncio.wait(self._tasks, timeout=20)
            for task in pending:
                log.error("task_did_not_stop", task=self._tasks[task])
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            failed = bool(pending) or any(not t.cancelled() and t.exception() for t in done)
        for cleanup in reversed(self._cleanups):
            try:
                await cleanup()
            except Exception:
                log.exception("cleanup_failed")
                failed = True
        await self.http.stop()
        return failed


def run_service(service: str, settings_type: type[S], start: Callable[[Runtime, S], Awaitable[None]]) -> None:
    """The `main` of every service. Exits with code 2 and one line per wrong setting if there is any."""
    keep_files_private()
    try:
        settings = load_settings(settings_type)
    except SettingsError as error:
        print(f"{service}: wrong settings\n{error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    configure_logs(service, settings.log_format, settings.log_level)
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)  # it may be lost, as on a new machine
    except OSError as error:
        log.error("wrong_settings", problems=[f"FLEETLOOP_STATE_DIR: {error}; name a folder that can be written"])
        sys.exit(EXIT_USAGE)
    try:
        configure_tracing(service, settings.trace_file, settings.trace_file_bytes, settings.otlp_endpoint)
    except SettingsError as error:
        log.error("wrong_settings", problems=str(error).splitlines())
        sys.exit(EXIT_USAGE)

    async def main() -> int:
        return await Runtime(service, settings).run(lambda runtime: start(runtime, settings))

    sys.exit(asyncio.run(main()))
