"""What the label page asks of the desk, and how that can fail: with this port, the work needs no network."""

from __future__ import annotations

from typing import Protocol

from fleetloop.protos.label.v1 import label_pb2


class DeskAwayError(Exception):
    """The desk does not answer; what was asked may be asked again."""


class TooLateError(Exception):
    """The lease has run out, or the task has ended."""


class DeskRefusedError(Exception):
    """The desk will not do it, and a repeat would change nothing."""


class Desk(Protocol):
    """What is asked of the desk on behalf of one person. Methods raise the three errors above."""

    async def lease(self, lease_s: float) -> label_pb2.LabelAssignment | None: ...

    async def frames(self, task_id: str, instants: int) -> list[label_pb2.TaskFrame]: ...

    async def submit(self, request: label_pb2.SubmitLabelRequest) -> None: ...

    async def undo(self, task_id: str, request_id: str) -> label_pb2.LabelAssignment: ...

    async def release(self, task_id: str, lease_id: str) -> None: ...

    async def open_tasks(self) -> int: ...
