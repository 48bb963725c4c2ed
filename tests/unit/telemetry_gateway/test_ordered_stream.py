"""Answers come in order, no more than the window is open, and an end of the process ends reading, not answering."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine

import pytest

from telemetry_gateway.ordered_stream import OrderedStreams


class Vehicle:
    """Sends numbers as fast as they are read."""

    def __init__(self, count: int, then_hang: bool = False) -> None:
        self.read = 0
        self._count = count
        self._then_hang = then_hang

    async def requests(self) -> AsyncIterator[int]:
        for number in range(self._count):
            self.read += 1
            yield number
        if self._then_hang:
            await asyncio.Event().wait()


async def test_answers_keep_the_order_of_requests_whatever_finishes_first() -> None:
    async def begin(number: int) -> Coroutine[None, None, int]:
        async def answer() -> int:
            await asyncio.sleep(0.01 if number % 3 == 0 else 0)
            return number

        return answer()

    conversations = OrderedStreams[int, int](8)
    assert [answer async for answer in conversations.answer_in_order(Vehicle(30).requests(), begin)] == list(
        range(30)
    )


async def test_reading_stops_when_the_window_is_full() -> None:
    kafka = asyncio.Event()
    vehicle = Vehicle(100)

    async def begin(number: int) -> Coroutine[None, None, int]:
        async def answer() -> int:
            await kafka.wait()
            return number

        return answer()

    stream = OrderedStreams[int, int](32).answer_in_order(vehicle.requests(), begin)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    assert vehicle.read == 32
    kafka.set()
    assert await first == 0
    await asyncio.sleep(0.05)
    assert vehicle.read == 32  # the vehicle has not taken its next answers; 0 leaves when the next is asked for
    assert await anext(stream) == 1
    await asyncio.sleep(0.05)
    assert vehicle.read == 33
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_failure_comes_after_the_answers_before_it() -> None:
    async def begin(number: int) -> Coroutine[None, None, int]:
        async def answer() -> int:
            return number

        if number == 3:
            raise PermissionError("revoked")
        return answer()

    answers = []
    with pytest.raises(PermissionError, match="revoked"):
        async for answer in OrderedStreams[int, int](8).answer_in_order(Vehicle(9).requests(), begin):
            answers.append(answer)  # noqa: PERF401 - a comprehension would lose what came before the failure
    assert answers == [0, 1, 2]


async def test_closing_ends_reading_and_what_was_read_is_still_answered() -> None:
    kafka = asyncio.Event()

    async def begin(number: int) -> Coroutine[None, None, int]:
        async def answer() -> int:
            await kafka.wait()
            return number

        return answer()

    conversations = OrderedStreams[int, int](8)

    async def listen() -> list[int]:
        return [
            answer async for answer in conversations.answer_in_order(Vehicle(5, then_hang=True).requests(), begin)
        ]

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.05)
    conversations.close()
    kafka.set()
    assert await asyncio.wait_for(listening, 1) == [0, 1, 2, 3, 4]
    assert conversations.closing
