"""A message that a service cannot process is set aside on a real Kafka, listed, retried or discarded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from fleetloop.cli import app
from fleetloop.domain.dead_letter_queues import DeadLetters
from fleetloop.domain.dead_letters import DeadLetter, DeadLetterState
from fleetloop.domain.topics import CLIP
from fleetloop.kit.messaging.consumer import ConsumerLoop
from fleetloop.kit.messaging.dead_letters import is_for_another, process_or_set_aside
from fleetloop.kit.messaging.producer import KafkaPublisher, Record, UnreadableMessageError
from fleetloop.kit.messaging.topics import create_topics, load_topics
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError
from fleetloop.shipped import topic_catalogue


class Service:
    """A service that fails on values that begin with `bad` until it is fixed."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.handled: list[bytes] = []
        self.skipped: list[bytes] = []
        self.fixed = False
        self.stopping = asyncio.Event()
        self._publisher = KafkaPublisher(name, settings)
        self._loop = ConsumerLoop(name, [CLIP], self._handle, settings, SystemClock())

    async def _handle(self, records: Sequence[Record]) -> None:
        for record in records:
            await process_or_set_aside(record, self._work, self._publisher)

    async def _work(self, record: Record) -> str:
        if is_for_another(record, self.name):
            self.skipped.append(record.value)
            return "skipped"
        if record.value.startswith(b"\xff"):
            raise UnreadableMessageError("no protobuf")
        if record.value.startswith(b"bad") and not self.fixed:
            raise KeyError("Id")
        self.handled.append(record.value)
        return "handled"

    async def run(self) -> None:
        async with self._publisher:
            await self._loop.run(self.stopping)


async def eventually(condition: object, within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.05)


@pytest.fixture
async def settings(kafka_bootstrap: str) -> ServiceSettings:
    await create_topics(kafka_bootstrap, load_topics(topic_catalogue()))
    return ServiceSettings(kafka_bootstrap_servers=kafka_bootstrap)


async def _mine(letters: DeadLetters, service: str) -> list[DeadLetter]:
    return [each for each in await letters.newest(1000) if each.service == service]


async def test_one_bad_message_is_set_aside_and_retried_only_by_the_service_that_failed(
    settings: ServiceSettings,
) -> None:
    run = uuid4().hex[:8]
    failing, other = Service(f"failing-{run}", settings), Service(f"other-{run}", settings)
    other.fixed = True
    tasks = [asyncio.create_task(each.run()) for each in (failing, other)]
    letters = DeadLetters(settings, load_topics(topic_catalogue()), "user/ann", SystemClock())
    good, bad, unreadable = f"good-{run}".encode(), f"bad-{run}".encode(), b"\xff" + run.encode()
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        for value in (bad, unreadable, good):
            # A header without a value is legal in Kafka.
            headers = [("ce_id", None), ("ce_time", None), ("trace", b"t")]
            await producer.send_and_wait(CLIP, value, key=b"car", headers=headers)
        await eventually(lambda: good in failing.handled and good in other.handled)
        await eventually(lambda: bad in other.handled)

        found = {letter.record.value: letter for letter in await _mine(letters, failing.name)}
        assert set(found) == {bad, unreadable}
        assert (found[bad].reason, found[bad].attempts, found[bad].error_type) == ("failed", 2, "KeyError")
        assert (found[unreadable].reason, found[unreadable].attempts) == ("unreadable", 1)
        assert ("ce_id", None) in found[bad].record.headers

        await letters.retry(found[bad].id, "not fixed yet")
        await eventually(lambda: bad in other.skipped)
        again: list[DeadLetter] = []
        async with asyncio.timeout(30):
            while len(again) < 3:
                again = await _mine(letters, failing.name)
        assert (again[0].record.value, again[0].attempts) == (bad, 4), "attempts go on counting"

        failing.fixed = True
        await letters.retry(again[0].id, "fixed")
        await eventually(lambda: bad in failing.handled)
        assert other.handled.count(bad) == 1
        await letters.discard(found[unreadable].id, "noise")
        with pytest.raises(FailedPreconditionError, match="user/ann discarded it: noise"):
            await letters.retry(found[unreadable].id)
        states = {letter.id: letter.state for letter in await _mine(letters, failing.name)}
        assert states[found[unreadable].id] is DeadLetterState.DISCARDED
        assert states[found[bad].id] is states[again[0].id] is DeadLetterState.RETRIED
    finally:
        await producer.stop()
        for each in (failing, other):
            each.stopping.set()
        await asyncio.gather(*tasks)


async def test_a_message_that_is_not_there_is_not_found(settings: ServiceSettings) -> None:
    letters = DeadLetters(settings, load_topics(topic_catalogue()), "user/ann", SystemClock())
    found = await letters.newest(1)
    missing = found[0].id.__class__(CLIP, 0, 10**9) if found else None
    if missing is not None:
        with pytest.raises(NotFoundError, match="has no message at 0/1000000000"):
            await letters.get(missing)


def test_without_a_run_the_command_says_what_to_start() -> None:
    result = CliRunner().invoke(app, ["dlq", "list", "--dir", "/nowhere"])
    assert result.exit_code != 0
