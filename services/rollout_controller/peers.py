"""Clients of the services that the controller asks: the monitor for evidence, the orchestrator for its signature."""

from __future__ import annotations

import grpc

from fleetloop.kit.process.logs import get_logger
from fleetloop.protos.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc
from rollout_controller.codec import evidence_of
from rollout_controller.model import Evidence
from rollout_controller.ports import CosignatureRefusedError, PeerUnavailableError

log = get_logger(__name__)
_TIMEOUT_S = 10.0


class MonitorEvidence:
    """Evidence from fleet_monitor. None while it is unavailable: a rollout then waits."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = monitor_pb2_grpc.MonitorServiceStub(channel)

    async def evidence(self, rollout_id: str, candidate: str) -> Evidence | None:
        """Sums of a rollout's reports; None while they are unavailable."""
        request = monitor_pb2.CompareCohortsRequest(rollout_id=rollout_id)
        try:
            response = await self._stub.CompareCohorts(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            log.warning("monitor_unavailable", code=error.code().name, detail=error.details())
            return None
        return evidence_of(response, candidate)


class OrchestratorCosigner:
    """The orchestrator's signature, which it gives only over models that passed there."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = training_pb2_grpc.TrainingServiceStub(channel)

    async def sign(self, signed: bytes) -> tuple[str, bytes]:
        """(key id, signature). Raises CosignatureRefusedError or PeerUnavailableError."""
        try:
            response = await self._stub.SignModels(training_pb2.SignModelsRequest(signed=signed), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise CosignatureRefusedError(error.details() or "the orchestrator refuses to sign") from error
            raise PeerUnavailableError(f"training_orchestrator: {error.code().name}: {error.details()}") from error
        return response.key_id, response.signature
