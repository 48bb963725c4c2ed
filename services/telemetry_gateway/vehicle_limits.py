"""What one vehicle may hold open, so that none of them takes the gateway from the others.

A vehicle whose connection broke opens new streams before the gateway notices that the old ones are dead. Beyond the
limit, a new stream therefore ends the oldest one of its vehicle and kind, and no vehicle is locked out by its own
past. Single requests end by themselves: there, the new one is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fleetloop.kit.refusal import ResourceExhaustedError
from telemetry_gateway.metrics import LIMITED

T = TypeVar("T")


class _Stream:
    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.superseded = False


class VehicleLimits:
    """Counts what each vehicle holds open."""

    def __init__(self, max_streams: int, max_uploads: int, max_requests: int) -> None:
        self._max_streams = {"telemetry": max_streams, "commands": max_streams, "upload": max_uploads}
        self._max_requests = max_requests
        self._streams: dict[tuple[str, str], list[_Stream]] = {}
        self._requests: dict[str, int] = {}

    @contextmanager
    def stream(self, kind: str, vehicle_id: str) -> Iterator[None]:
        """Counts the stream that the current task serves: `telemetry`, `commands` or `upload`.

        Raises ResourceExhaustedError in the body once a newer stream has superseded this one.
        """
        task = asyncio.current_task()
        assert task is not None
        own, mine = self._streams.setdefault((kind, vehicle_id), []), _Stream(task)
        own.append(mine)
        limit = self._max_streams[kind]
        if len(own) > limit:
            LIMITED.labels(kind).inc()
            oldest = own.pop(0)
            oldest.superseded = True
            oldest.task.cancel()
        try:
            yield
        except asyncio.CancelledError:
            if not mine.superseded:
                raise
            task.uncancel()
            raise ResourceExhaustedError(
                f"{vehicle_id} has opened a newer {kind} stream, and {limit} may be open",
                remedy="close streams that you do not use",
            ) from None
        finally:
            if mine in own:
                own.remove(mine)
            if not own and self._streams.get((kind, vehicle_id)) is own:
                del self._streams[kind, vehicle_id]

    @contextmanager
    def request(self, vehicle_id: str) -> Iterator[None]:
        """Counts a request in progress. Raises ResourceExhaustedError if the vehicle has too many."""
        number = self._requests.get(vehicle_id, 0)
        if number >= self._max_requests:
            LIMITED.labels("request").inc()
            raise ResourceExhaustedError(
                f"{vehicle_id} has {number} requests in progress", remedy="wait for the answer to one of them"
            )
        self._requests[vehicle_id] = number + 1
        try:
            yield
        finally:
            self._requests[vehicle_id] -= 1
            if not self._requests[vehicle_id]:
                del self._requests[vehicle_id]


async def within(messages: AsyncIterator[T], first_s: float, next_s: float, late: Exception) -> AsyncIterator[T]:
    """Yields messages. Raises `late` if the first takes longer than `first_s`, or another longer than `next_s`."""
    wait_s = first_s
    while True:
        try:
            async with asyncio.timeout(wait_s):
                message = await anext(messages)
        except TimeoutError:
            raise late from None
        except StopAsyncIteration:
            return
        wait_s = next_s
        yield message
