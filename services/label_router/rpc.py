"""RouteService: explains what the router decided."""

from __future__ import annotations

import sqlalchemy as sa

from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.protos.route.v1 import route_pb2, route_pb2_grpc
from label_router.codec import DECISIONS
from label_router.model import Progress
from label_router.store import FiringRow
from label_router.transactions import count_firings

SERVICE_NAME = "fleet.route.v1.RouteService"
ALLOWED = {
    f"/{SERVICE_NAME}/ListFirings": ("user/*",),
    f"/{SERVICE_NAME}/CountFirings": ("user/*", "service/fleet-console", "service/campaign-keeper"),
}
_MOST_FIRINGS = 1000


class RouteService(route_pb2_grpc.RouteServiceServicer):
    """See protos/fleet/route/v1/route.proto for what each call promises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListFirings(
        self, request: route_pb2.ListFiringsRequest, context: object
    ) -> route_pb2.ListFiringsResponse:
        def read(tx: Transaction) -> list[route_pb2.RoutedFiring]:
            limit = min(request.limit or 100, _MOST_FIRINGS)
            query = sa.select(FiringRow).order_by(FiringRow.decided_at_utc_ns.desc()).limit(limit)
            if request.trigger:
                query = query.where(FiringRow.trigger == request.trigger)
            return [_firing(row) for row in tx.session.scalars(query)]

        return route_pb2.ListFiringsResponse(firings=await self._database.read(read))

    async def CountFirings(
        self, request: route_pb2.CountFiringsRequest, context: object
    ) -> route_pb2.CountFiringsResponse:
        counts = [
            route_pb2.FiringCount(
                trigger=trigger, decision=DECISIONS[Progress(progress)], reason=reason, firings=count
            )
            for trigger, progress, reason, count in await self._database.read(count_firings)
        ]
        return route_pb2.CountFiringsResponse(counts=counts)


def _firing(row: FiringRow) -> route_pb2.RoutedFiring:
    return route_pb2.RoutedFiring(
        firing_id=row.firing_id,
        vehicle_id=row.vehicle_id,
        trigger=row.trigger,
        decision=DECISIONS[Progress(row.progress)],
        reason=row.reason,
        detail=row.detail,
        task_ids=[row.task_id] if row.task_id else [],
        decided_at_utc_ns=row.decided_at_utc_ns,
    )
