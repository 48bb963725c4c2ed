"""LabelService: the labellers' door. Who labels is who the certificate names.

The console's certificate may speak for the people in front of it; they are then the callers. It cannot label for
itself: one author for everybody could never agree with anybody.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from fleetloop.domain.clips import ClipError
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.refusal import InvalidArgumentError, PermissionDeniedError
from fleetloop.kit.rpc import ON_BEHALF_OF, caller
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.kit.storage.objects import ObjectMissingError, Objects
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc
from label_desk import transactions
from label_desk.codec import OUTCOMES, questions_of
from label_desk.core import AnswerError, check_answers
from label_desk.frames import frames_around
from label_desk.settings import LabelDeskSettings
from label_desk.store import EndedCountRow, LeaseRow, TaskRow

SERVICE_NAME = "fleet.label.v1.LabelService"
CONSOLE = "service/fleet-console"
ALLOWED = {f"/{SERVICE_NAME}/*": ("user/*", CONSOLE)}


UNDO_LEASE_S = 120.0
"""How long a labeller has for the answer that was taken back, unless no lease may be as long."""


class LabelService(label_pb2_grpc.LabelServiceServicer):
    """See protos/fleet/label/v1/label.proto for what each call promises."""

    def __init__(
        self, database: Database, objects: Objects, schema: TaskSchema, clock: Clock, settings: LabelDeskSettings
    ) -> None:
        self._database = database
        self._objects = objects
        self._schema = schema
        self._clock = clock
        self._settings = settings

    async def LeaseTask(self, request: label_pb2.LeaseTaskRequest, context: object) -> label_pb2.LeaseTaskResponse:
        longest_s = self._settings.longest_lease_s
        if not 0 < request.lease_s <= longest_s:
            raise InvalidArgumentError(f"ask for more than 0 and at most {longest_s:.0f} seconds", "lease_s")
        author, now_ns = _labeller(), self._clock.now_utc_ns()
        found = await self._database.run(
            lambda tx: transactions.lease_next(
                tx, author, request.project, request.lease_s, now_ns, request.request_id
            )
        )
        if found is None:
            return label_pb2.LeaseTaskResponse()
        return label_pb2.LeaseTaskResponse(assignment=self._assignment(*found))

    def _assignment(self, row: TaskRow, lease: LeaseRow) -> label_pb2.LabelAssignment:
        try:
            questions = questions_of(self._schema, row.task)
        except TaskSchemaError as error:
            raise InvalidArgumentError(str(error), "task") from error
        return label_pb2.LabelAssignment(
            task=transactions.created_of(row),
            lease_id=lease.lease_id,
            lease_expires_at_utc_ns=lease.expires_at_utc_ns,
            questions=questions,
        )

    async def GetTaskFrames(
        self, request: label_pb2.GetTaskFramesRequest, context: object
    ) -> label_pb2.GetTaskFramesResponse:
        created = await self._database.read(
            lambda tx: transactions.created_of(transactions.find_task(tx, request.task_id))
        )
        try:
            frames = await frames_around(self._objects, created, request.instants)
        except (ObjectMissingError, ClipError) as error:
            raise InvalidArgumentError(f"the clip of this task cannot be shown: {error}", "task_id") from error
        return label_pb2.GetTaskFramesResponse(frames=frames)

    async def SubmitLabel(
        self, request: label_pb2.SubmitLabelRequest, context: object
    ) -> label_pb2.SubmitLabelResponse:
        author, now_ns = _labeller(), self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            task = transactions.find_task(tx, request.task_id).task
            try:
                check_answers(self._schema, task, request.answers)
            except AnswerError as error:
                raise InvalidArgumentError(error.remedy, error.field) from error
            decision = transactions.submit(
                tx, request, author, now_ns, self._settings.automatic_bound, self._settings.undo_window_s
            )
            outcome = OUTCOMES[decision.outcome] if decision else label_pb2.LABEL_OUTCOME_UNSPECIFIED
            return label_pb2.SubmitLabelResponse(outcome=outcome).SerializeToString()

        answer = await self._once(request.request_id, "SubmitLabel", now_ns, work)
        return label_pb2.SubmitLabelResponse.FromString(answer)

    async def UndoLabel(self, request: label_pb2.UndoLabelRequest, context: object) -> label_pb2.UndoLabelResponse:
        author, now_ns = _labeller(), self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            lease_s = min(UNDO_LEASE_S, self._settings.longest_lease_s)
            found = transactions.undo(tx, request.task_id, author, lease_s, now_ns)
            return label_pb2.UndoLabelResponse(assignment=self._assignment(*found)).SerializeToString()

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
        return await self._database.read(lambda tx: progress(tx, now_ns))

    async def _once(self, request_id: str, method: str, now_ns: int, work: Callable[[Transaction], bytes]) -> bytes:
        key = f"{caller().name}:{request_id}" if request_id else ""
        return await self._database.run(lambda tx: answer_once(tx, key, method, now_ns, lambda: work(tx)))


def _labeller() -> str:
    """Name of the person who labels. Raises a Refusal when a service speaks for nobody."""
    who = caller()
    if who.kind != "user":
        raise PermissionDeniedError(f"{who} is no labeller; name the person it speaks for", ON_BEHALF_OF)
    return who.name


def progress(tx: Transaction, now_utc_ns: int) -> label_pb2.GetProgressResponse:
    """Counts per project."""
    projects: dict[str, label_pb2.ProjectProgress] = {}
    for ended in tx.session.scalars(sa.select(EndedCountRow)):
        row = projects.setdefault(ended.project, label_pb2.ProjectProgress(project=ended.project))
        row.ended[ended.outcome] += ended.tasks
        row.by_source[ended.decided_by] += ended.tasks
    waiting = (
        sa.select(TaskRow.project, sa.func.count(), sa.func.min(TaskRow.created_at_utc_ns))
        .where(TaskRow.outcome == "")
        .group_by(TaskRow.project)
    )
    for project, count, oldest_ns in tx.session.execute(waiting):
        row = projects.setdefault(project, label_pb2.ProjectProgress(project=project))
        row.open, row.oldest_open_s = count, max(0.0, (now_utc_ns - oldest_ns) / 1e9)
    leased = (
        sa.select(TaskRow.project, sa.func.count())
        .join(LeaseRow, LeaseRow.task_id == TaskRow.task_id)
        .where(LeaseRow.expires_at_utc_ns > now_utc_ns)
        .group_by(TaskRow.project)
    )
    for project, count in tx.session.execute(leased):
        projects[project].leased = count
    return label_pb2.GetProgressResponse(projects=[projects[name] for name in sorted(projects)])
