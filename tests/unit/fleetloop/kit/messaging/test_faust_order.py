"""Messages that a worker passes over are noticed before a later one has any effect; gaps and repeats are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from mode.utils.queues import FlowControlQueue

from fleetloop.kit.messaging.faust_app import build_app
from fleetloop.kit.messaging.faust_order import KeepingFlowControl, MessagesPassedOverError, OrderGuard
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.settings import ServiceSettings


async def test_resuming_an_active_flow_leaves_the_queues_as_they_are() -> None:
    flow = KeepingFlowControl()
    queue: FlowControlQueue[int] = FlowControlQueue(flow_control=flow, clear_on_resume=True)
    flow.resume()
    await queue.put(1)
    flow.resume()
    assert queue.get_nowait() == 1


async def test_resuming_a_suspended_flow_drops_what_came_before() -> None:
    flow = KeepingFlowControl()
    queue: FlowControlQueue[int] = FlowControlQueue(flow_control=flow, clear_on_resume=True)
    flow.resume()
    await queue.put(1)
    flow.suspend()
    flow.resume()
    assert queue.empty()
    await asyncio.wait_for(flow.acquire(), 1)


def test_an_app_has_this_flow_control(tmp_path: Path) -> None:
    app = build_app("test-faust", ServiceSettings(state_dir=tmp_path, kafka_bootstrap_servers="localhost:1"))
    assert isinstance(app.flow_control, KeepingFlowControl)


def record(offset: int, partition: int = 0) -> Record:
    return Record("t", partition, offset, b"k", b"v", [], 0)


class Log:
    """A partition as the broker has it, and what the group has committed of it."""

    def __init__(self, offsets: Sequence[int], committed: int = 0) -> None:
        self.offsets = offsets
        self.committed = committed
        self.asked = 0
        self.guard = OrderGuard(self.committed_offset, self.next_message)

    async def committed_offset(self, partition: TopicPartition) -> int:
        return self.committed

    async def next_message(self, partition: TopicPartition, offset: int) -> int:
        self.asked += 1
        return min(each for each in self.offsets if each >= offset)

    async def deliver(self, *offsets: int) -> None:
        for offset in offsets:
            await self.guard.check(record(offset))
            self.guard.handled(record(offset))


async def test_messages_in_their_order_are_never_asked_about() -> None:
    log = Log(range(10), committed=3)
    await log.deliver(3, 4, 5, 6)
    assert log.asked == 0


async def test_a_message_after_one_that_was_passed_over_is_refused() -> None:
    log = Log(range(102, 120), committed=102)
    await log.deliver(102, 103)
    with pytest.raises(MessagesPassedOverError, match=r"t/0: message 104 was passed over before 114"):
        await log.deliver(114)


async def test_the_first_message_after_a_start_must_follow_what_is_committed() -> None:
    with pytest.raises(MessagesPassedOverError):
        await Log(range(10), committed=3).deliver(5)
    with pytest.raises(MessagesPassedOverError):
        await Log(range(10)).deliver(1)


async def test_gaps_that_the_broker_has_are_no_gaps_of_the_worker() -> None:
    log = Log([5, 6, 8, 20])  # the first five were deleted, a transaction ended at 7, the rest was compacted
    await log.deliver(5, 6, 8, 20)
    assert log.asked == 3


async def test_what_another_member_handled_meanwhile_is_not_missed() -> None:
    log = Log(range(10))
    await log.deliver(0, 1)
    log.committed = 6
    await log.deliver(6, 7)
    assert log.asked == 0


async def test_repeats_are_allowed_and_partitions_are_apart() -> None:
    log = Log(range(10))
    await log.deliver(0, 1, 2, 0, 1, 2, 3)
    await log.guard.check(record(0, partition=1))
    with pytest.raises(MessagesPassedOverError):
        await log.guard.check(record(3, partition=1))


@settings(deadline=None)
@given(st.sets(st.integers(0, 30), min_size=1), st.data())
def test_a_delivery_is_refused_exactly_when_it_leaves_a_message_out(offsets: set[int], data: st.DataObject) -> None:
    log = Log(sorted(offsets))
    delivered = [each for each in sorted(offsets) if data.draw(st.booleans())]
    complete = delivered == sorted(offsets)[: len(delivered)]
    if complete:
        asyncio.run(log.deliver(*delivered))
    else:
        with pytest.raises(MessagesPassedOverError):
            asyncio.run(log.deliver(*delivered))
