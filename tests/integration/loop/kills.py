"""SIGKILL as these tests use it."""

from __future__ import annotations

import asyncio
import signal

from fleetloop.embedded.run import EmbeddedRun


async def kill_when_ready(run: EmbeddedRun, service: str) -> None:
    """Kill a service once it is ready. Returns when the supervisor has noticed, so that a next kill can follow."""

    def restarts() -> int:
        return next(each.restarts for each in run.supervisor.status() if each.name == service)

    await asyncio.to_thread(run.supervisor.wait_ready, 60)
    before = restarts()
    run.supervisor.kill(service, signal.SIGKILL)
    while restarts() == before:
        await asyncio.sleep(0.05)
