"""DetectorService: reports what is in force in this process."""

from __future__ import annotations

from fleetloop.protos.detect.v1 import detect_pb2, detect_pb2_grpc
from trigger_detector.in_force import in_force
from trigger_detector.metrics import FRAMES
from trigger_detector.stream import DetectorStream

SERVICE_NAME = "fleet.detect.v1.DetectorService"


class DetectorService(detect_pb2_grpc.DetectorServiceServicer):
    """Implements the calls that protos/fleet/detect/v1/detect.proto specifies."""

    def __init__(self, stream: DetectorStream) -> None:
        self._stream = stream

    async def GetDetector(
        self, request: detect_pb2.GetDetectorRequest, context: object
    ) -> detect_pb2.GetDetectorResponse:
        stream = self._stream
        campaigns = [
            detect_pb2.CampaignInForce(campaign=each.campaign, revision=each.revision, triggers=each.triggers)
            for each in in_force(stream.book, stream.plan)
        ]
        return detect_pb2.GetDetectorResponse(
            campaigns=campaigns,
            partitions=sorted(tp.partition for tp in stream.partitions),
            vehicles=stream.vehicles(),
            state_bytes=stream.state_bytes(),
            frames=int(FRAMES._value.get()),
            firings=stream.firings,
        )
