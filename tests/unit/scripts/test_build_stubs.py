"""Stubs import one another below fleetloop.protos, and what is on the wire keeps its names."""

from __future__ import annotations

from scripts.build_stubs import relocated

from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc


def test_imports_are_moved() -> None:
    assert (
        relocated("from fleet.common.v1 import provenance_pb2 as p\n")
        == "from fleetloop.protos.common.v1 import provenance_pb2 as p\n"
    )
    assert relocated("x: fleet.common.v1.provenance_pb2.P") == "x: fleetloop.protos.common.v1.provenance_pb2.P"


def test_names_on_the_wire_stay() -> None:
    for text in (
        "'/fleet.telemetry.v1.TelemetryService/UploadClip'",
        "package fleet.telemetry.v1",
        "b'\\x12fleet.x.v1'",
    ):
        assert relocated(text) == text


def test_generated_stubs_speak_the_same_protocol_as_before() -> None:
    assert telemetry_pb2.TelemetryBatch.DESCRIPTOR.full_name == "fleet.telemetry.v1.TelemetryBatch"
    assert (
        telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"].full_name
        == "fleet.telemetry.v1.TelemetryService"
    )
    assert telemetry_pb2_grpc.__name__ == "fleetloop.protos.telemetry.v1.telemetry_pb2_grpc"
