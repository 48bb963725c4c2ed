"""Asking services whether they serve, against a real server with mTLS."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetloop.check_services import check_all, main
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.identity import AllowList, IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority, Credentials


def _identity(folder: Path, name: str, authority: str = "authority") -> Credentials:
    now = datetime.now(UTC)
    issuer = CertificateAuthority.open(folder / authority, fleet="demo", now=now)
    return issuer.issue(IdentityKind.SERVICE, name, folder / authority / name, now=now)


def _settings(identity: Credentials) -> ServiceSettings:
    return ServiceSettings(
        kafka_bootstrap_servers="unused:1",
        grpc_listen="127.0.0.1:0",
        tls_ca=identity.ca,
        tls_cert=identity.cert,
        tls_key=identity.key,
    )


async def test_one_that_serves_and_one_that_is_away(tmp_path: Path) -> None:
    server = RpcServer("label-desk", _settings(_identity(tmp_path, "label-desk")), AllowList("demo", {}))
    await server.start([])
    mine = _identity(tmp_path, "fleet-console")
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
    server = RpcServer("label-desk", _settings(_identity(tmp_path, "label-desk", "foreign")), AllowList("demo", {}))
    await server.start([])
    mine = _identity(tmp_path, "fleet-console")
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
