"""Clients of the services that the console asks, over gRPC with its own certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.message import Message

from fleet_console.desk import DeskAwayError, DeskRefusedError, TooLateError
from fleet_console.login.rights import Rights
from fleet_console.login.sessions import SessionEndedError, Visit
from fleet_console.metrics import UNAVAILABLE_PEERS
from fleet_console.model import Facts
from fleet_console.settings import FleetConsoleSettings
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.refusal import UnavailableError
from fleetloop.kit.rpc import ROLES, open_service_channel
from fleetloop.protos.archive.v1 import archive_pb2, archive_pb2_grpc
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc
from fleetloop.protos.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from fleetloop.protos.route.v1 import route_pb2, route_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc

log = get_logger(__name__)
_ASK_S = 4.0
_LABEL_S = 8.0
NOT_ALLOWED = "your roles do not allow to read it"
PEERS = (
    "telemetry_archiver",
    "campaign_keeper",
    "label_router",
    "label_desk",
    "dataset_curator",
    "training_orchestrator",
    "rollout_controller",
    "fleet_monitor",
)


class Peers:
    """Channels to every service that has an address. Close it."""

    def __init__(self, settings: FleetConsoleSettings) -> None:
        addresses = {peer: str(getattr(settings, f"{peer}_address")) for peer in PEERS}
        self.channels: dict[str, grpc.aio.Channel] = {
            peer: open_service_channel(peer, address, settings) for peer, address in addresses.items() if address
        }

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(channel.close() for channel in self.channels.values()))


class Services:
    """Asks all services at once, in a person's name and only for what the person's roles allow.

    One that does not answer in time keeps its last answer and is named as away.
    """

    def __init__(self, peers: Peers, visit: Visit, rights: Rights) -> None:
        self._channels = peers.channels
        self._visit = visit
        self._rights = rights

    async def ask(self, last: Facts) -> Facts:
        """The newest facts. Raises SessionEndedError once the person's session has ended."""
        try:
            metadata = self._visit.metadata()
        except UnavailableError as error:
            return replace(last, away=dict.fromkeys(PEERS, str(error)))
        roles = dict(metadata)[ROLES].split(",")
        asked: Mapping[str, tuple[str, Callable[[grpc.aio.Channel], Any], str, Message]] = {
            "archive": ("telemetry_archiver", archive_pb2_grpc.ArchiveServiceStub, "GetArchive",
                        archive_pb2.GetArchiveRequest()),
            "ledger": ("campaign_keeper", campaign_pb2_grpc.CampaignServiceStub, "GetLedger",
                       campaign_pb2.GetLedgerRequest()),
            "firings": ("label_router", route_pb2_grpc.RouteServiceStub, "CountFirings",
                        route_pb2.CountFiringsRequest()),
            "progress": ("label_desk", label_pb2_grpc.LabelServiceStub, "GetProgress",
                         label_pb2.GetProgressRequest()),
            "agreement": ("label_desk", label_pb2_grpc.LabelServiceStub, "GetAgreement",
                          label_pb2.GetAgreementRequest()),
            "versions": ("dataset_curator", dataset_pb2_grpc.DatasetServiceStub, "ListVersions",
                         dataset_pb2.ListVersionsRequest()),
            "runs": ("training_orchestrator", training_pb2_grpc.TrainingServiceStub, "ListRuns",
                     training_pb2.ListRunsRequest()),
            "models": ("rollout_controller", rollout_pb2_grpc.ModelServiceStub, "ListModels",
                       rollout_pb2.ListModelsRequest()),
            "rollouts": ("rollout_controller", rollout_pb2_grpc.RolloutServiceStub, "ListRollouts",
                         rollout_pb2.ListRolloutsRequest()),
            "vehicles": ("fleet_monitor", monitor_pb2_grpc.MonitorServiceStub, "ListVehicles",
                         monitor_pb2.ListVehiclesRequest()),
            "cohorts": ("fleet_monitor", monitor_pb2_grpc.MonitorServiceStub, "CompareCohorts",
                        monitor_pb2.CompareCohortsRequest()),
        }  # fmt: skip
        answers = await asyncio.gather(*(self._ask(*each, metadata, roles) for each in asked.values()))
        found: dict[str, Any] = {}
        away: dict[str, str] = {}
        refused: set[str] = set()
        heard: set[str] = set()
        for (name, (peer, *_)), answer in zip(asked.items(), answers, strict=True):
            if answer is None:
                refused.add(peer)
            elif isinstance(answer, str):
                away[peer] = answer
            else:
                found[name] = answer
                heard.add(peer)
        refused -= heard  # a person who may ask some of its questions sees their answers
        for peer in PEERS:
            UNAVAILABLE_PEERS.labels(peer).set(peer in away)
        answered = frozenset(heard) - away.keys()
        shown = {**dict.fromkeys(refused - away.keys(), NOT_ALLOWED), **away}
        return replace(last, **found, away=shown, heard=last.heard | answered)

    async def _ask(
        self,
        peer: str,
        stub: Callable[[grpc.aio.Channel], Any],
        method: str,
        request: Message,
        metadata: tuple[tuple[str, str], ...],
        roles: Sequence[str],
    ) -> Message | str | None:
        """The answer, or the reason why there is none; None when the person's roles do not allow the question."""
        service = request.DESCRIPTOR.full_name.rpartition(".")[0]
        if not self._rights.may(f"/{service}.{stub.__name__.removesuffix('Stub')}/{method}", roles):
            return None
        channel = self._channels.get(peer)
        if channel is None:
            return "no address is set for it"
        try:
            answer: Message = await getattr(stub(channel), method)(request, timeout=_ASK_S, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return _reason(error)
        return answer


class PeerAwayError(Exception):
    """A service does not answer, or refuses; the text says which."""


class CampaignKeeper:
    """The keeper, asked in a person's name for everything that the page of triggers shows."""

    def __init__(self, peers: Peers, visit: Visit) -> None:
        self._visit = visit
        channel = peers.channels.get("campaign_keeper")
        self._stub = campaign_pb2_grpc.CampaignServiceStub(channel) if channel is not None else None

    async def ask(
        self,
    ) -> tuple[
        Sequence[campaign_pb2.Campaign],
        Sequence[campaign_pb2.TriggerEarnings],
        Sequence[campaign_pb2.ProcessInForce],
    ]:
        """Campaigns, the ledger, and what each process has in force. Raises PeerAwayError, or SessionEndedError."""
        if self._stub is None:
            raise PeerAwayError("no address is set for it")
        try:
            said: dict[str, Any] = {"timeout": _ASK_S, "metadata": self._visit.metadata()}
        except UnavailableError as error:
            raise PeerAwayError(str(error)) from error
        try:
            campaigns, ledger, force = await asyncio.gather(
                self._stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(), **said),
                self._stub.GetLedger(campaign_pb2.GetLedgerRequest(), **said),
                self._stub.GetInForce(campaign_pb2.GetInForceRequest(), **said),
            )
        except grpc.aio.AioRpcError as error:
            raise PeerAwayError(_reason(error)) from error
        return campaigns.campaigns, ledger.earnings, force.processes


class LabelDesk:
    """The label desk, on behalf of one person."""

    def __init__(self, peers: Peers, visit: Visit) -> None:
        channel = peers.channels.get("label_desk")
        self._stub = label_pb2_grpc.LabelServiceStub(channel) if channel is not None else None
        self._visit = visit

    async def lease(self, lease_s: float) -> label_pb2.LabelAssignment | None:
        """The next task, or None when there is none for this person now."""
        response = await self._call("LeaseTask", label_pb2.LeaseTaskRequest(lease_s=lease_s, request_id=uuid4().hex))
        return response.assignment if response.assignment.lease_id else None

    async def frames(self, task_id: str, instants: int) -> list[label_pb2.TaskFrame]:
        """Pictures around a task's moment."""
        request = label_pb2.GetTaskFramesRequest(task_id=task_id, instants=instants)
        return list((await self._call("GetTaskFrames", request)).frames)

    async def submit(self, request: label_pb2.SubmitLabelRequest) -> None:
        """Give an answer; the same request may be retried."""
        await self._call("SubmitLabel", request)

    async def undo(self, task_id: str, request_id: str) -> label_pb2.LabelAssignment:
        """Undo an answer."""
        request = label_pb2.UndoLabelRequest(task_id=task_id, request_id=request_id)
        response: label_pb2.UndoLabelResponse = await self._call("UndoLabel", request)
        return response.assignment

    async def release(self, task_id: str, lease_id: str) -> None:
        """Give a task back unanswered."""
        await self._call("ReleaseTask", label_pb2.ReleaseTaskRequest(task_id=task_id, lease_id=lease_id))

    async def open_tasks(self) -> int:
        """Tasks that are open, for all labellers."""
        response = await self._call("GetProgress", label_pb2.GetProgressRequest())
        return sum(project.open for project in response.projects)

    async def _call(self, method: str, request: Message) -> Any:
        """The response. Raises DeskAwayError, TooLateError or DeskRefusedError."""
        if self._stub is None:
            raise DeskAwayError("no address is set for it")
        try:
            metadata = self._visit.metadata()
        except UnavailableError as error:
            raise DeskAwayError(str(error)) from error
        except SessionEndedError as error:
            raise DeskRefusedError("your session has ended; log in again") from error
        call: Callable[..., Awaitable[Any]] = getattr(self._stub, method)
        try:
            return await call(request, timeout=_LABEL_S, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise DeskAwayError(_reason(error)) from error
            if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND):
                raise TooLateError(error.details() or "") from error
            log.warning("desk_refused", method=method, code=error.code().name, detail=error.details())
            raise DeskRefusedError(error.details() or error.code().name) from error


def _reason(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return "it does not answer"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it takes too long to answer"
    return f"it refuses: {error.details()}"
