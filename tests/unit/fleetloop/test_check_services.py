"""Asking services whether they serve, against a real server with mTLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.callers import Callers, policy_of

from fleetloop.check_services import check_all, main
from fleetloop.kit.rpc import RpcServer

POLICY = policy_of({})


async def test_one_that_serves_and_one_that_is_away(tmp_path: Path) -> None:
    callers = Callers(tmp_path)
    server = RpcServer("label-desk", callers.settings("label-desk"), POLICY)
    await server.start([])
    mine = callers.admitted("service/fleet-console")
    try:
        found = await check_all(
            {"label-desk": f"localhost:{server.port}", "label-router": "localhost:1"},
            (mine.ca, mine.cert, mine.key),
            within_s=1.5,
        )
    finally:
        await server.stop(0)
    assert found["label-desk"] is None
    assert found["label-router"] is not None


async def test_a_server_of_another_fleets_authority_does_not_pass(tmp_path: Path) -> None:
    server = RpcServer("label-desk", Callers(tmp_path / "foreign").settings("label-desk"), POLICY)
    await server.start([])
    mine = Callers(tmp_path / "own").admitted("service/fleet-console")
    try:
        found = await check_all(
            {"label-desk": f"localhost:{server.port}"}, (mine.ca, mine.cert, mine.key), within_s=1.5
        )
    finally:
        await server.stop(0)
    assert found["label-desk"] is not None


def test_it_says_how_to_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["check_services", "label-desk"])
    with pytest.raises(SystemExit, match="name the services"):
        main()
