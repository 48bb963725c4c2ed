"""The HTTP server of every process: /metrics for Prometheus, /livez and /readyz for Kubernetes or the supervisor."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

Check = Callable[[], str | None]
"""Returns what is wrong, or None if nothing is."""


class HealthServer:
    """Answers health probes with the checks that a service has registered."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host or "127.0.0.1", int(port)
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        self.port = 0

    def add_liveness(self, name: str, check: Check) -> None:
        """Registers a liveness check: the process is restarted when it fails."""
        self._live[name] = check

    def add_readiness(self, name: str, check: Check) -> None:
        """Registers a readiness check: the process gets no requests while it fails."""
        self._ready[name] = check

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _livez(self, request: web.Request) -> web.Response:
        return _answer(self._live)

    async def _readyz(self, request: web.Request) -> web.Response:
        return _answer(self._live | self._ready)


def _answer(checks: dict[str, Check]) -> web.Response:
    problems = {name: problem for name, check in checks.items() if (problem := check()) is not None}
    text = "\n".join(f"{name}: {problem}" for name, problem in problems.items()) or "ok"
    return web.Response(text=text + "\n", status=503 if problems else 200)
