from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from fleetloop.kit.process.exit_codes import EXIT_BROKEN_DEPENDENCY, EXIT_USAGE
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.process.private_files import private_files
from fleetloop.kit.process.settings import ServiceSettings, SettingsError

SETTINGS = ServiceSettings(kafka_bootstrap_servers="nowhere:1")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("config/routing.yaml: cell_m: missing"), EXIT_USAGE),
        (ValueError("config/tasks.yaml: tasks: empty"), EXIT_USAGE),
        (ConnectionError("no broker"), EXIT_BROKEN_DEPENDENCY),
    ],
)
async def test_only_what_a_restart_may_mend_asks_for_one(error: Exception, code: int) -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    async def start(runtime: Runtime) -> None:
        runtime.on_stop(close)
        raise error

    assert await Runtime("test", SETTINGS).run(start) == code
    assert closed == [True]


async def test_work_that_fails_asks_for_a_restart_and_a_signal_does_not() -> None:
    async def fail() -> None:
        raise ValueError("a message that cannot be")

    async def broken(runtime: Runtime) -> None:
        runtime.spawn("work", fail())

    async def stopped(runtime: Runtime) -> None:
        runtime.spawn("work", runtime.stopping.wait())
        runtime.stopping.set()

    assert await Runtime("test", SETTINGS).run(broken) == EXIT_BROKEN_DEPENDENCY
    assert await Runtime("test", SETTINGS).run(stopped) == 0


async def test_health_is_answered_by_what_the_checks_say() -> None:
    problems: dict[str, str | None] = {"live": None, "ready": "no partitions yet"}
    runtime = Runtime("test", SETTINGS)
    runtime.http.add_liveness("live", lambda: problems["live"])
    runtime.http.add_readiness("ready", lambda: problems["ready"])
    seen = []

    async def ask(path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{runtime.http.port}{path}") as response,
        ):
            return response.status, await response.text()

    async def asked() -> None:
        seen.append(await ask("/livez"))
        seen.append(await ask("/readyz"))
        problems.update(live="stuck", ready=None)
        seen.append(await ask("/livez"))
        seen.append(await ask("/readyz"))
        seen.append(await ask("/metrics"))
        runtime.stopping.set()

    async def start(runtime: Runtime) -> None:
        runtime.spawn("ask", asked())

    assert await runtime.run(start) == 0
    assert seen[0] == (200, "ok\n")
    assert seen[1][0] == 503 and "ready: no partitions yet" in seen[1][1]
    assert seen[2:4] == [(503, "live: stuck\n"), (503, "live: stuck\n")]
    assert seen[4][0] == 200 and "# HELP" in seen[4][1]


def run(monkeypatch: pytest.MonkeyPatch, state: Path) -> tuple[int, list[bool]]:
    """Run a service that ends at once; its exit code, and whether its state folder was there when it started."""
    monkeypatch.setenv("FLEETLOOP_STATE_DIR", str(state))
    monkeypatch.setenv("FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS", "nowhere:1")
    seen: list[bool] = []

    async def start(runtime: Runtime, settings: ServiceSettings) -> None:
        seen.append(settings.state_dir.is_dir())
        runtime.stopping.set()

    with private_files(), pytest.raises(SystemExit) as ended:
        run_service("test", ServiceSettings, start)
    assert isinstance(ended.value.code, int)
    return ended.value.code, seen


def test_a_service_whose_state_folder_is_gone_makes_a_new_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The monitor used to end at each start, for good, after its folder was deleted."""
    assert run(monkeypatch, tmp_path / "state" / "test") == (0, [True])
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, tmp_path / "file" / "test") == (EXIT_USAGE, [])
