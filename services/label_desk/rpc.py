"""LabelService, the RPCs of labellers. The author of an answer is the person whom the client certificate names.

The console may call on behalf of the people who use it; they are then the authors. It cannot label for itself: votes
of one author for all people could never agree with one another.
"""

from __future__ import annotations

from collections.abc import Callable

from fleetloop.domain.clips import ClipError
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.refusal import InvalidArgumentError, PermissionDeniedError
from fleetloop.kit.rpc import ON_BEHALF_OF, RpcServer, caller, request_key
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.kit.storage.objects import ObjectMissingError
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc
from label_desk import queries, transactions
from label_desk.codec import OUTCOMES, agreement_message, assignment_message, frame_messages, progress_messages
from label_desk.core import AnswerError, check_answers
from label_desk.frames import frames_around
from label_desk.model import Assignment
from label_desk.settings import LabelDeskSettings

SERVICE_NAME = "fleet.label.v1.LabelService"
_MOST_VEHICLES = 1000
UNDO_LEASE_S = 120.0
"""Length of the lease after an undo, in seconds, unless the longest lease is shorter."""


class LabelService(label_pb2_grpc.LabelServiceServicer):
    """See protos/fleet/label/v1/label.proto for what each call promises."""

    def __init__(
        self, database: Database, clips: StoredClips, schema: TaskSchema, clock: Clock, settings: LabelDeskSettings
    ) -> None:
        self._database = database
        self._clips = clips
        self._schema = schema
        self._clock = clock
        self._settings = settings

    async def LeaseTask(self, request: label_pb2.LeaseTaskRequest, context: object) -> label_pb2.LeaseTaskResponse:
        longest_s = self._settings.longest_lease_s
        if not 0 < request.lease_s <= longest_s:
            raise InvalidArgumentError(f"ask for more than 0 and at most {longest_s:.0f} seconds", "lease_s")
        author, now_ns, most = _labeller(), self._clock.now_utc_ns(), self._settings.most_leases
        found = await self._database.run(
            lambda tx: transactions.lease_next(
                tx, author, request.project, request.lease_s, most, now_ns, request.request_id
            )
        )
        if found is None:
            return label_pb2.LeaseTaskResponse()
        return label_pb2.LeaseTaskResponse(assignment=self._assignment(found))

    def _assignment(self, assignment: Assignment) -> label_pb2.LabelAssignment:
        try:
            return assignment_message(assignment, self._schema)
        except TaskSchemaError as error:
            raise InvalidArgumentError(str(error), "task") from error

    async def GetTaskFrames(
        self, request: label_pb2.GetTaskFramesRequest, context: object
    ) -> label_pb2.GetTaskFramesResponse:
        task = await self._database.read(lambda tx: queries.find_task(tx, request.task_id))
        try:
            frames = await frames_around(self._clips, task, request.instants)
        except (ObjectMissingError, ClipError) as error:
            raise InvalidArgumentError(f"the clip of this task cannot be shown: {error}", "task_id") from error
        return label_pb2.GetTaskFramesResponse(frames=frame_messages(frames))

    async def SubmitLabel(
        self, request: label_pb2.SubmitLabelRequest, context: object
    ) -> label_pb2.SubmitLabelResponse:
        author, now_ns = _labeller(), self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            task = queries.find_task(tx, request.task_id).task
            try:
                check_answers(self._schema, task, request.answers)
            except AnswerError as error:
                raise InvalidArgumentError(error.remedy, error.field) from error
            decision = transactions.submit(
                tx,
                request.task_id,
                request.lease_id,
                request.answers,
                author,
                now_ns,
                self._settings.automatic_bound,
                self._settings.undo_window_s,
            )
            outcome = OUTCOMES[decision.outcome] if decision else label_pb2.LABEL_OUTCOME_UNSPECIFIED
            return label_pb2.SubmitLabelResponse(outcome=outcome).SerializeToString()

        answer = await self._once(request.request_id, "SubmitLabel", now_ns, work)
        return label_pb2.SubmitLabelResponse.FromString(answer)

    async def UndoLabel(self, request: label_pb2.UndoLabelRequest, context: object) -> label_pb2.UndoLabelResponse:
        author, now_ns = _labeller(), self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            lease_s = min(UNDO_LEASE_S, self._settings.longest_lease_s)
            found = transactions.undo(
                tx,
                request.task_id,
                author,
                lease_s,
                self._settings.most_leases,
                now_ns,
                self._settings.automatic_bound,
            )
            return label_pb2.UndoLabelResponse(assignment=self._assignment(found)).SerializeToString()

        answer = await self._once(request.request_id, "UndoLabel", now_ns, work)
        return label_pb2.UndoLabelResponse.FromString(answer)

    async def ReleaseTask(
        self, request: label_pb2.ReleaseTaskRequest, context: object
    ) -> label_pb2.ReleaseTaskResponse:
        author = _labeller()
        await self._database.run(lambda tx: transactions.release(tx, request.task_id, author, request.lease_id))
        return label_pb2.ReleaseTaskResponse()

    async def GetProgress(
        self, request: label_pb2.GetProgressRequest, context: object
    ) -> label_pb2.GetProgressResponse:
        now_ns = self._clock.now_utc_ns()
        projects = await self._database.read(lambda tx: queries.progress(tx, now_ns))
        return label_pb2.GetProgressResponse(projects=progress_messages(projects))

    async def GetAgreement(
        self, request: label_pb2.GetAgreementRequest, context: object
    ) -> label_pb2.GetAgreementResponse:
        least = self._settings.least_agreement
        sources, vehicles = await self._database.read(lambda tx: queries.agreements(tx, request.vehicle_id))
        return label_pb2.GetAgreementResponse(
            sources=[agreement_message(each, least) for each in sources],
            vehicles=[agreement_message(each, least) for each in vehicles[:_MOST_VEHICLES]],
            contradicted_vehicles=len({v.vehicle_id for v in vehicles if not v.audits.may_decide(least)}),
            least_agreement=least,
        )

    async def _once(self, request_id: str, method: str, now_ns: int, work: Callable[[Transaction], bytes]) -> bytes:
        key = request_key(request_id)
        return await self._database.run(lambda tx: answer_once(tx, key, method, now_ns, lambda: work(tx)))


def _labeller() -> str:
    """Name of the person who labels. Raises PermissionDeniedError when a service calls on its own behalf."""
    who = caller()
    if who.kind != "user":
        raise PermissionDeniedError(f"{who} is no labeller; name the person it speaks for", ON_BEHALF_OF)
    return who.name


def add_to(server: RpcServer, service: LabelService) -> None:
    """Serve the calls of `service`."""
    label_pb2_grpc.add_LabelServiceServicer_to_server(service, server.server)
