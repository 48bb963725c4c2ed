from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from fleetloop.demo.loop_client import PATIENCE
from fleetloop.protos.route.v1 import route_pb2, route_pb2_grpc

AWAY_S = 6.0
"""Longer than all attempts at a service that is not there together take."""


class Router(route_pb2_grpc.RouteServiceServicer):
    def ListFirings(self, request: object, context: object) -> route_pb2.ListFiringsResponse:
        return route_pb2.ListFiringsResponse()

    def CountFirings(self, request: object, context: object) -> route_pb2.CountFiringsResponse:
        return route_pb2.CountFiringsResponse(counts=[route_pb2.FiringCount(trigger="flicker", firings=3)])


def test_a_service_that_is_being_restarted_is_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = grpc.server(ThreadPoolExecutor(1))
    route_pb2_grpc.add_RouteServiceServicer_to_server(Router(), server)

    def begin() -> None:
        server.add_insecure_port(address)
        server.start()

    late = threading.Timer(AWAY_S, begin)
    late.start()
    try:
        with grpc.insecure_channel(address, PATIENCE) as channel:
            stub = route_pb2_grpc.RouteServiceStub(channel)
            answer = stub.CountFirings(route_pb2.CountFiringsRequest(), timeout=30)
    finally:
        late.join()
        server.stop(None)
    assert answer.counts[0].firings == 3
