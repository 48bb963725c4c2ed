"""Check the health of services as their callers would: gRPC health over mutual TLS. `helm test` runs it.

    python -m fleetloop.check_services NAME=HOST:PORT ...

NAME is the service's name in its certificate, such as label-desk. FLEETLOOP_TLS_CA, _CERT and _KEY name the
certificate of any service or user of the fleet. Prints one line per service and exits 1 if any does not serve within
FLEETLOOP_CHECK_WITHIN_S seconds (60).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleetloop.kit.rpc import open_channel

_PAUSE_S = 1.0


async def check(
    name: str, address: str, tls: tuple[Path | None, Path | None, Path | None], within_s: float
) -> str | None:
    """Return None once the service `name` serves, or the reason why it did not within `within_s` seconds."""
    problem = f"no answer within {within_s:g} s"
    try:
        async with asyncio.timeout(within_s), open_channel(name, address, *tls) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while True:
                try:
                    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=within_s)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return None
                    problem = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
                except grpc.aio.AioRpcError as error:
                    problem = f"{error.code().name}: {error.details()}"
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        return problem


async def check_all(
    services: Mapping[str, str], tls: tuple[Path | None, Path | None, Path | None], within_s: float
) -> dict[str, str | None]:
    """Check all services concurrently. Returns the problem of each by name, None if it serves."""
    found = await asyncio.gather(*(check(name, address, tls, within_s) for name, address in services.items()))
    return dict(zip(services, found, strict=True))


def main() -> None:
    """Run the command."""
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    if not pairs or not all(name and address for name, _, address in pairs):
        sys.exit("name the services: python -m fleetloop.check_services label-desk=host:9000 ...")
    ca, cert, key = (
        Path(value) if (value := os.environ.get(f"FLEETLOOP_TLS_{part}")) else None for part in ("CA", "CERT", "KEY")
    )
    within_s = float(os.environ.get("FLEETLOOP_CHECK_WITHIN_S", "60"))
    found = asyncio.run(check_all({name: address for name, _, address in pairs}, (ca, cert, key), within_s))
    for name, problem in found.items():
        print(f"{name}: {problem or 'serves'}")
    sys.exit(1 if any(found.values()) else 0)


if __name__ == "__main__":
    main()
