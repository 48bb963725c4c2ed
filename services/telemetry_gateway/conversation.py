"""One vehicle's telemetry stream: read ahead, acknowledge in order, stop reading when too much is open.

A batch takes its place in the window before it is read and leaves it when its acknowledgement has been written. So
a vehicle that does not read its acknowledgements, and a Kafka that is slow, both end in the vehicle's own spool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Conversations(Generic[Q, A]):
    """All open streams of a process, so that it can stop reading them when it ends."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._readers: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def closing(self) -> bool:
        """No more is read; what was read is still acknowledged."""
        return self._closing

    def close(self) -> None:
        """Stops reading all streams."""
        self._closing = True
        for reader in self._readers:
            reader.cancel()

    async def hold(
        self, requests: AsyncIterator[Q], begin: Callable[[Q], Awaitable[Coroutine[None, None, A]]]
    ) -> AsyncIterator[A]:
        """Answers every request in order of arrival, up to `window` of them at a time.

        `begin` is awaited one request after the other, which keeps their order in Kafka. It returns a coroutine
        that waits for what has been begun and gives the answer. What either raises ends the stream, after the
        answers before it.
        """
        room = asyncio.Semaphore(self._window)
        answers: deque[Coroutine[None, None, A] | None] = deque()
        more = asyncio.Event()

        async def read() -> None:
            try:
                while not self._closing:
                    await room.acquire()
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
                yield await answer  # Kafka is at work on it already; a task of its own would only cost time
                room.release()
            if not reader.cancelled() and reader.done():
                reader.result()
        finally:
            self._readers.discard(reader)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            for answer in answers:
                if answer is not None:
                    answer.close()
