"""Simulated labellers: they answer through the LabelService that people use, with a given share of wrong answers.

They read the ground truth from files that the simulated vehicles write, which never pass through the product. A
labeller who finds no ground truth for a moment answers "I cannot tell".
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import random
import signal
import uuid
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from fleetloop.kit.process.pausing import pause
from fleetloop.kit.rpc import open_channel
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc

# An entry that was written up to this much later than a moment still describes it.
_TOLERANCE_NS = 60_000_000
_IDLE_S = 1.0
_LEASE_S = 60.0
_RETRY_AFTER_S = 1.0
_RETRIED = (  # the desk restarts or is slow, or the lease has expired
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.FAILED_PRECONDITION,
)


class GroundTruth:
    """What was really there, by vehicle and time, from files that grow while they are read."""

    def __init__(self, paths: list[Path]) -> None:
        self._positions = dict.fromkeys(paths, 0)
        self._times: dict[str, list[int]] = defaultdict(list)
        self._answers: dict[str, list[Mapping[str, str]]] = defaultdict(list)

    def read_on(self) -> None:
        """Read what was written since the last call. A line without its newline waits for the next call."""
        for path, position in self._positions.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(position)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._positions[path] = position + len(whole) + len(newline)
            for line in whole.splitlines():
                entry = json.loads(line)
                self._times[entry["vehicle"]].append(entry["utc_ns"])
                self._answers[entry["vehicle"]].append(entry["answers"])

    def at(self, vehicle: str, utc_ns: int) -> Mapping[str, str] | None:
        """Return the answers that held at an instant: the last ones written at or before it, None if there are
        none.
        """
        times = self._times.get(vehicle, [])
        index = bisect.bisect_right(times, utc_ns + _TOLERANCE_NS) - 1
        return self._answers[vehicle][index] if index >= 0 else None


def answer(
    task: label_pb2.LabelTaskCreated,
    choices: list[str],
    truth: Mapping[str, str] | None,
    wrong_share: float,
    rng: random.Random,
) -> dict[str, str]:
    """Return the right choice, or a wrong one with probability `wrong_share`; empty if the truth is not known."""
    right = (truth or {}).get(task.task)
    if right is None:
        return {}
    if rng.random() < wrong_share:
        return {task.task: rng.choice([choice for choice in choices if choice != right])}
    return {task.task: right}


async def label(
    address: str,
    identity: Path,
    ground_truth: GroundTruth,
    wrong_share: float,
    rng: random.Random,
    stopping: asyncio.Event,
) -> None:
    """Answer label tasks as one labeller until `stopping` is set."""
    files = (identity / "ca.pem", identity / "cert.pem", identity / "key.pem")
    async with open_channel("label-desk", address, *files) as channel:
        desk = label_pb2_grpc.LabelServiceStub(channel)
        while not stopping.is_set():
            try:
                await _label_one(desk, ground_truth, wrong_share, rng, stopping)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _RETRIED:
                    raise
                await asyncio.sleep(_RETRY_AFTER_S)


async def _label_one(
    desk: Any,
    ground_truth: GroundTruth,
    wrong_share: float,
    rng: random.Random,
    stopping: asyncio.Event,
) -> None:
    ask = label_pb2.LeaseTaskRequest(lease_s=_LEASE_S, request_id=uuid.uuid4().hex)
    assignment = (await desk.LeaseTask(ask, timeout=10)).assignment
    if not assignment.lease_id:
        await pause(stopping, _IDLE_S)
        return
    task = assignment.task
    ground_truth.read_on()
    truth = ground_truth.at(task.provenance.vehicle_id, task.moment_utc_ns)
    choices = [choice.name for question in assignment.questions for choice in question.choices]
    request = label_pb2.SubmitLabelRequest(
        request_id=uuid.uuid4().hex,
        task_id=task.task_id,
        lease_id=assignment.lease_id,
        answers=answer(task, choices, truth, wrong_share, rng),
    )
    await desk.SubmitLabel(request, timeout=10)


async def main() -> None:
    """Run several labellers in one process."""
    parser = argparse.ArgumentParser(description="Simulated labellers of the demo.")
    parser.add_argument("--desk", required=True, help="host:port of label_desk")
    parser.add_argument("--identities", type=Path, required=True, help="folder with one identity per labeller")
    parser.add_argument("--truth", type=Path, nargs="+", required=True, help="files of ground truth")
    parser.add_argument("--wrong", type=float, default=0.05, help="share of wrong answers")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    ground_truth = GroundTruth(arguments.truth)
    people = sorted(path for path in arguments.identities.iterdir() if path.is_dir())
    async with asyncio.TaskGroup() as group:
        for index, identity in enumerate(people):
            rng = random.Random(arguments.seed * 1000 + index)
            group.create_task(label(arguments.desk, identity, ground_truth, arguments.wrong, rng, stopping))


if __name__ == "__main__":
    asyncio.run(main())
