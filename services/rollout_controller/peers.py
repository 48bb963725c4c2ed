"""The client of the service that the controller asks: the orchestrator, for its signature."""

from __future__ import annotations

import grpc

from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc
from rollout_controller.ports import CosignatureRefusedError, PeerUnavailableError

_TIMEOUT_S = 10.0


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
