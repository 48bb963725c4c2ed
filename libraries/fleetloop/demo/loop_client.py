"""The demo's view of the loop: only what the services answer over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from fleetloop.api.installation import RunningFleet
from fleetloop.kit.rpc import expect_server, retry_config
from fleetloop.protos.archive.v1 import archive_pb2, archive_pb2_grpc
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from fleetloop.protos.route.v1 import route_pb2, route_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc

_TIMEOUT_S = 60.0
PATIENCE = [("grpc.service_config", retry_config(wait_for_ready=True)), ("grpc.max_reconnect_backoff_ms", 2_000)]
"""Channel options: wait for a service that restarts until it answers or the call's deadline passes."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoopState:
    """The state of the loop at one moment."""

    firings: dict[str, int]
    """Number of firings by their routing decision, or by the reason for which they were dropped."""
    open_tasks: int
    ended_tasks: int
    versions: list[dataset_pb2.DatasetCommitted]
    runs: list[training_pb2.RunChanged]
    models: list[rollout_pb2.ModelChanged]
    rollouts: list[rollout_pb2.Rollout]

    def only_trains(self) -> bool:
        """Return True while a run is queued or running and no candidate waits for reports from vehicles."""
        waiting = any(rollout.state == rollout_pb2.ROLLOUT_STATE_RUNNING for rollout in self.rollouts)
        states = (training_pb2.RUN_STATE_QUEUED, training_pb2.RUN_STATE_RUNNING)
        return not waiting and any(run.state in states for run in self.runs)

    def turn_is_over(self, runs_before: int) -> bool:
        """Return True once run number `runs_before` + 1 was evaluated and its rollout, if any, has ended.

        A release has ended when the last vehicle attests the model.
        """
        ended = [run for run in self.runs if run.state == training_pb2.RUN_STATE_EVALUATED]
        if len(ended) <= runs_before:
            return False
        newest = ended[0]
        if newest.verdict != training_pb2.VERDICT_PASSED:
            return True
        rollout = next((each for each in self.rollouts if each.model_digest == newest.model_digest), None)
        if rollout is None or rollout.state == rollout_pb2.ROLLOUT_STATE_RUNNING:
            return False
        gone = (rollout_pb2.ROLLOUT_STATE_ROLLED_BACK, rollout_pb2.ROLLOUT_STATE_WITHDRAWN)
        return rollout.state in gone or rollout.last_attested_at_utc_ns > 0


class LoopClient:
    """Calls the services with the local user's certificate, and waits for a service that restarts."""

    def __init__(self, fleet: RunningFleet) -> None:
        self._fleet = fleet
        credentials = fleet.credentials()
        self._own = credentials.cert.read_bytes()
        self._secure = grpc.ssl_channel_credentials(
            credentials.ca.read_bytes(), credentials.key.read_bytes(), self._own
        )
        self._channels: dict[str, grpc.Channel] = {}

    def _stub(self, make: Callable[[grpc.Channel], T], service: str) -> T:
        if service not in self._channels:
            options = [*PATIENCE, expect_server(service, self._own)]
            self._channels[service] = grpc.secure_channel(self._fleet.address(service), self._secure, options)
        return make(self._channels[service])

    def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            channel.close()

    def state(self) -> LoopState:
        """Return the current state of the loop."""
        route = self._stub(route_pb2_grpc.RouteServiceStub, "label_router")
        firings: dict[str, int] = {}
        for row in route.CountFirings(route_pb2.CountFiringsRequest(), timeout=_TIMEOUT_S).counts:
            word = row.reason or route_pb2.RouteDecision.Name(row.decision).removeprefix("ROUTE_DECISION_").lower()
            firings[word] = firings.get(word, 0) + row.firings
        desk = self._stub(label_pb2_grpc.LabelServiceStub, "label_desk")
        projects = desk.GetProgress(label_pb2.GetProgressRequest(), timeout=_TIMEOUT_S).projects
        rollout = self._stub(rollout_pb2_grpc.RolloutServiceStub, "rollout_controller")
        models = self._stub(rollout_pb2_grpc.ModelServiceStub, "rollout_controller")
        return LoopState(
            firings=firings,
            open_tasks=sum(project.open for project in projects),
            ended_tasks=sum(sum(project.ended.values()) for project in projects),
            versions=self.versions(),
            runs=self.runs(),
            models=list(models.ListModels(rollout_pb2.ListModelsRequest(), timeout=_TIMEOUT_S).models),
            rollouts=list(rollout.ListRollouts(rollout_pb2.ListRolloutsRequest(), timeout=_TIMEOUT_S).rollouts),
        )

    def versions(self) -> list[dataset_pb2.DatasetCommitted]:
        """List dataset versions, newest first within each dataset."""
        stub = self._stub(dataset_pb2_grpc.DatasetServiceStub, "dataset_curator")
        return list(stub.ListVersions(dataset_pb2.ListVersionsRequest(), timeout=_TIMEOUT_S).versions)

    def runs(self) -> list[training_pb2.RunChanged]:
        """List training runs, newest first."""
        stub = self._stub(training_pb2_grpc.TrainingServiceStub, "training_orchestrator")
        return list(stub.ListRuns(training_pb2.ListRunsRequest(), timeout=_TIMEOUT_S).runs)

    def ledger(self) -> list[campaign_pb2.TriggerEarnings]:
        """Return the ledger: firings, clips and samples by trigger version."""
        stub = self._stub(campaign_pb2_grpc.CampaignServiceStub, "campaign_keeper")
        return list(stub.GetLedger(campaign_pb2.GetLedgerRequest(), timeout=_TIMEOUT_S).earnings)

    def labels_by_source(self) -> dict[str, int]:
        """Count ended label tasks by the source that decided them."""
        desk = self._stub(label_pb2_grpc.LabelServiceStub, "label_desk")
        sources: dict[str, int] = {}
        for project in desk.GetProgress(label_pb2.GetProgressRequest(), timeout=_TIMEOUT_S).projects:
            for source, count in project.by_source.items():
                sources[source] = sources.get(source, 0) + count
        return sources

    def firings_of(self, vehicle: str) -> int:
        """Count the firings of one vehicle that the router knows, up to 1,000."""
        route = self._stub(route_pb2_grpc.RouteServiceStub, "label_router")
        found = route.ListFirings(route_pb2.ListFiringsRequest(limit=1000), timeout=_TIMEOUT_S).firings
        return sum(firing.vehicle_id == vehicle for firing in found)

    def archived(self, vehicle: str) -> archive_pb2.GetArchiveResponse:
        """Return what the archive holds of one vehicle."""
        stub = self._stub(archive_pb2_grpc.ArchiveServiceStub, "telemetry_archiver")
        response: Any = stub.GetArchive(archive_pb2.GetArchiveRequest(vehicle_id=vehicle), timeout=_TIMEOUT_S)
        return response  # type: ignore[no-any-return]
