"""RouteService: explains what the router decided."""

from __future__ import annotations

from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.storage.database import Database
from fleetloop.protos.route.v1 import route_pb2, route_pb2_grpc
from label_router import queries
from label_router.codec import DECISIONS, routed_message
from label_router.model import Progress

SERVICE_NAME = "fleet.route.v1.RouteService"
_USUAL_FIRINGS, _MOST_FIRINGS = 100, 1000


class RouteService(route_pb2_grpc.RouteServiceServicer):
    """See protos/fleet/route/v1/route.proto for what each call promises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListFirings(
        self, request: route_pb2.ListFiringsRequest, context: object
    ) -> route_pb2.ListFiringsResponse:
        limit = min(request.limit or _USUAL_FIRINGS, _MOST_FIRINGS)
        found = await self._database.read(lambda tx: queries.firings(tx, request.trigger, limit))
        return route_pb2.ListFiringsResponse(firings=map(routed_message, found))

    async def CountFirings(
        self, request: route_pb2.CountFiringsRequest, context: object
    ) -> route_pb2.CountFiringsResponse:
        counts = [
            route_pb2.FiringCount(
                trigger=trigger, decision=DECISIONS[Progress(progress)], reason=reason, firings=count
            )
            for trigger, progress, reason, count in await self._database.read(queries.count_firings)
        ]
        return route_pb2.CountFiringsResponse(counts=counts)


def add_to(server: RpcServer, service: RouteService) -> None:
    """Serve the calls of `service`."""
    route_pb2_grpc.add_RouteServiceServicer_to_server(service, server.server)
