"""The port to the label desk: what the label page needs of it, and how that can fail."""

from __future__ import annotations

from typing import Protocol

from fleetloop.protos.label.v1 import label_pb2


class DeskAwayError(Exception):
    """The desk does not answer; the call may be retried."""


class TooLateError(Exception):
    """The lease has expired, or the task has ended."""


class DeskRefusedError(Exception):
    """The desk refuses, and a retry would change nothing."""


class Desk(Protocol):
    """The calls to the desk on behalf of one person. Methods raise the three errors above."""

    async def lease(self, lease_s: float) -> label_pb2.LabelAssignment | None: ...

    async def frames(self, task_id: str, instants: int) -> list[label_pb2.TaskFrame]: ...

    async def submit(self, request: label_pb2.SubmitLabelRequest) -> None: ...

    async def undo(self, task_id: str, request_id: str) -> label_pb2.LabelAssignment: ...

    async def release(self, task_id: str, lease_id: str) -> None: ...

    async def open_tasks(self) -> int: ...
