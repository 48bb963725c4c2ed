"""Client of the router, which knows what triage dropped. While it is unavailable, the ledger has no drops."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from fleetloop.kit.process.logs import get_logger
from fleetloop.protos.route.v1 import route_pb2, route_pb2_grpc

log = get_logger(__name__)
_TIMEOUT_S = 2.0


class RouterDrops:
    """Drops by trigger and reason, over gRPC."""

    def __init__(self, channel: grpc.aio.Channel | None) -> None:
        self._stub = route_pb2_grpc.RouteServiceStub(channel) if channel is not None else None

    async def dropped(self) -> Mapping[str, Mapping[str, int]]:
        """Trigger -> reason -> firings. Empty while the router is unavailable."""
        if self._stub is None:
            return {}
        try:
            response = await self._stub.CountFirings(route_pb2.CountFiringsRequest(), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            log.warning("router_unavailable", code=error.code().name)
            return {}
        drops: dict[str, dict[str, int]] = {}
        for row in response.counts:
            if row.decision == route_pb2.ROUTE_DECISION_DROPPED:
                drops.setdefault(row.trigger, {})[row.reason] = row.firings
        return drops
