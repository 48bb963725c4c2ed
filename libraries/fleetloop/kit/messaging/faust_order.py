"""Keeps a Faust worker from passing over messages, and notices it if it does.

When a worker has restored its tables, Faust resumes the partitions of the topics, seeks them to what is committed,
and then "resumes" a flow that has been active since the restoration began. Each resumption clears the queues of the
agents. A message that was fetched in between is lost to the agent until the next restart, and the worker goes on with
later ones. An agent that relies on the order of a partition takes it for a repeat when it is read again: with two
SIGKILLs during 30 reports, on a machine with two other busy processes, 5 and 14 reports were not counted in two of
ten runs.

`KeepingFlowControl` clears the queues only when the flow really was suspended. `OrderGuard` checks the result: every
message must follow the one before it. If it does not, the broker is asked what the group has committed, and whether
there is anything in between: offsets have gaps where transactions end and where compaction removed a message. What
the worker itself knows of the committed offset cannot be used, because it delivers messages before it has asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError
from mode.utils.queues import FlowControlEvent

from fleetloop.kit.messaging.producer import Record, connection_options
from fleetloop.kit.process.settings import ServiceSettings

_ANSWER_WITHIN_S = 30.0
Next = Callable[[TopicPartition, int], Awaitable[int]]
"""The offset of the first message of a partition at or after an offset."""
Committed = Callable[[TopicPartition], Awaitable[int]]
"""The offset that the group has committed for a partition, 0 for none."""


class KeepingFlowControl(FlowControlEvent):  # type: ignore[misc,unused-ignore]
    """Lets messages into the agents' queues or not. Resuming an active flow leaves the queues as they are."""

    def resume(self) -> None:
        """Let messages in. What came in before the flow was suspended is dropped: it is read again."""
        if not self.is_active():
            super().resume()
        else:
            self._resume.set()


class MessagesPassedOverError(Exception):
    """The worker passed over messages of a partition. Restart it: it then reads them again."""


class OrderGuard:
    """Checks that the messages of each partition come in their order, without a gap. Repeats are allowed."""

    def __init__(self, committed: Committed, next_message: Next) -> None:
        self._committed = committed
        self._next_message = next_message
        self._due: dict[TopicPartition, int] = {}
        """The offset after the last message that was handled."""

    async def check(self, record: Record) -> None:
        """Call before a message has any effect. Raises MessagesPassedOverError, or KafkaError without an answer."""
        partition = TopicPartition(record.topic, record.partition)
        if record.offset <= self._due.get(partition, 0):
            return
        # The first message after a start, or after another member had the partition, which has committed then.
        due = max(self._due.get(partition, 0), await self._committed(partition))
        if record.offset <= due:
            return
        there = await self._next_message(partition, due)
        if there < record.offset:
            raise MessagesPassedOverError(
                f"{record.topic}/{record.partition}: message {there} was passed over before {record.offset}"
            )

    def handled(self, record: Record) -> None:
        """Note that a message has taken effect."""
        partition = TopicPartition(record.topic, record.partition)
        self._due[partition] = max(self._due.get(partition, 0), record.offset + 1)


def guard_of(group: str, settings: ServiceSettings) -> OrderGuard:
    """A guard that asks the broker, with clients that are closed afterwards, because it asks rarely."""

    async def committed(partition: TopicPartition) -> int:
        admin = AIOKafkaAdminClient(**connection_options(settings))
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await admin.start()
                offsets = await admin.list_consumer_group_offsets(group, partitions=[partition])
                return max(0, int(offsets[partition].offset))
        except TimeoutError as error:
            raise KafkaTimeoutError(f"no answer about {partition} within {_ANSWER_WITHIN_S:g} s") from error
        finally:
            await admin.close()

    async def next_message(partition: TopicPartition, offset: int) -> int:
        consumer = AIOKafkaConsumer(
            **connection_options(settings), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await consumer.start()
                consumer.assign([partition])
                consumer.seek(partition, offset)
                found: int = (await consumer.getone(partition)).offset
                return found
        except TimeoutError as error:
            raise KafkaTimeoutError(f"no answer about {partition} within {_ANSWER_WITHIN_S:g} s") from error
        finally:
            await consumer.stop()

    return OrderGuard(committed, next_message)
