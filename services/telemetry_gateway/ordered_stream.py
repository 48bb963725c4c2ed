"""Streams that read ahead, answer in order, and stop reading when too many requests are unanswered.

A request occupies a slot of the window from before it is read until its answer has been written. So back pressure
reaches the vehicle, which then fills its own spool, both when it does not read its answers and when Kafka is slow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class OrderedStreams(Generic[Q, A]):
    """All open streams of a process, which stops reading them when it ends."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._readers: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def closing(self) -> bool:
        """True once no more requests are read; requests that were read are still answered."""
        return self._closing

    def close(self) -> None:
        """Stops reading all streams."""
        self._closing = True
        for reader in self._readers:
            reader.cancel()

    async def answer_in_order(
        self, requests: AsyncIterator[Q], begin: Callable[[Q], Awaitable[Coroutine[None, None, A]]]
    ) -> AsyncIterator[A]:
        """Yields the answer to every request in order of arrival, with at most `window` requests in progress.

        `begin` starts the work for one request; it is awaited for one request after the other, which keeps their
        order in Kafka. The coroutine that it returns waits for the end of the work and returns the answer. An
        exception of either ends the stream, after the answers to earlier requests.
        """
        free_slots = asyncio.Semaphore(self._window)
        answers: deque[Coroutine[None, None, A] | None] = deque()
        more = asyncio.Event()

        async def read() -> None:
            try:
                while not self._closing:
                    await free_slots.acquire()
                    try:
                        request = await anext(requests)
                    except StopAsyncIteration:
                        return
                    answers.append(await begin(request))
                    more.set()
            finally:
                answers.append(None)
                more.set()

        reader = asyncio.create_task(read())
        self._readers.add(reader)
        try:
            while True:
                if not answers:
                    more.clear()
                    await more.wait()
                answer = answers.popleft()
                if answer is None:
                    break
                yield await answer  # the work has begun already, so a task per answer would only cost time
                free_slots.release()
            if not reader.cancelled() and reader.done():
                reader.result()
        finally:
            self._readers.discard(reader)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            for answer in answers:
                if answer is not None:
                    answer.close()
