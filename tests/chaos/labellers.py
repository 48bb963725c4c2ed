"""Labellers with a script: the answer to a task follows from its id, so that a run can be replayed.

Most tasks get the same answer from all and end as agreed. With a few all say that they cannot tell, and a few get a
different answer from each labeller, so that they end as disputed.
"""

from __future__ import annotations

import asyncio
import zlib

import grpc
from tests.chaos.history import Recorder

from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc

LABELLERS = 4
"""As many as it takes to dispute a task that two must agree on."""
_IDLE_S = 0.5
_RPC_S = 10.0
_LEASE_S = 20.0


def scripted_outcome(task_id: str) -> str:
    """Return how a task must end."""
    number = zlib.crc32(task_id.encode())
    if number % 11 == 0:
        return "cannot_tell"
    return "disputed" if number % 7 == 0 else "agreed"


def scripted_answer(task_id: str, task: str, choices: list[str], labeller: int) -> dict[str, str]:
    """Return what a labeller says; empty for "I cannot tell"."""
    outcome = scripted_outcome(task_id)
    if outcome == "cannot_tell":
        return {}
    number = labeller if outcome == "disputed" else zlib.crc32(task_id.encode())
    return {task: choices[number % len(choices)]}


async def label(address: str, credentials: Credentials, number: int, recorder: Recorder) -> None:
    """Answer tasks as one labeller until cancelled."""
    asked = 0
    async with open_channel("label-desk", address, credentials.ca, credentials.cert, credentials.key) as channel:
        desk = label_pb2_grpc.LabelServiceStub(channel)
        while True:
            asked += 1
            try:
                request_id = f"{number}-{asked}"
                lease = label_pb2.LeaseTaskRequest(lease_s=_LEASE_S, request_id=f"lease-{request_id}")
                assignment = (await desk.LeaseTask(lease, timeout=_RPC_S)).assignment
                if not assignment.lease_id:
                    await asyncio.sleep(_IDLE_S)
                    continue
                task = assignment.task
                choices = [choice.name for question in assignment.questions for choice in question.choices]
                answers = scripted_answer(task.task_id, task.task, choices, number)
                submit = label_pb2.SubmitLabelRequest(
                    request_id=f"submit-{request_id}",
                    task_id=task.task_id,
                    lease_id=assignment.lease_id,
                    answers=answers,
                )
                await desk.SubmitLabel(submit, timeout=_RPC_S)
            except grpc.aio.AioRpcError as error:
                # The desk is away, or the lease has expired: another labeller, or this one later, gets the task.
                if error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT):
                    raise
                recorder.add("note", text=f"labeller {number}: {error.code().name}: {error.details()}")
                await asyncio.sleep(_IDLE_S)
