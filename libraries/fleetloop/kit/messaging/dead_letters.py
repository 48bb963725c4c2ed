"""Sets aside a message that cannot be processed, so that the messages behind it are not held up.

A message that can never be understood (`UnreadableMessageError`) is set aside at once. After any other exception that
is no outage the message is tried once more, by itself: the exception may have come from what was processed beside it,
or from a race. If it fails again it goes to the dead-letter queue of its topic, with the error, the attempts and the
service, and the partition goes on. An outage (`fleetloop.kit.messaging.outage`) is raised to the caller, which
commits nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Protocol

from fleetloop.kit.messaging.events import Headers, header
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.producer import DLQ_HEADERS, Record, UnreadableMessageError
from fleetloop.kit.process.logs import get_logger

log = get_logger(__name__)
RETRIED_FOR = "retried_for"
"""Header of a message that an operator sent again: the only service that processes it."""
_SUMMARY_CHARACTERS = 300
ATTEMPTS = 2
"""How often a message is tried that fails without being unreadable."""


class DeadLetterQueue(Protocol):
    """Where messages are sent that cannot be processed."""

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        """Returns once Kafka has the message in the dead-letter queue of its topic."""
        ...


async def process_or_set_aside(
    record: Record, work: Callable[[Record], Awaitable[str]], dead_letters: DeadLetterQueue, earlier_attempts: int = 0
) -> str:
    """The outcome of `work` for the metric of messages, or "dead" when the message was set aside.

    `work` must leave nothing half done when it raises. `earlier_attempts` counts those that failed together with
    other messages. Raises only what is an outage.
    """
    for attempt in range(earlier_attempts + 1, ATTEMPTS + 1):
        try:
            return await work(record)
        except Exception as error:
            if is_outage(error):
                raise
            if attempt < ATTEMPTS and not isinstance(error, UnreadableMessageError):
                log.warning("message_failed", **_where(record), attempt=attempt, error=summary(error))
                continue
            return await set_aside(record, error, dead_letters, attempt)
    return "dead"


async def set_aside(record: Record, error: Exception, dead_letters: DeadLetterQueue, attempts: int = 1) -> str:
    """Sends a message to the dead-letter queue of its topic. Returns its outcome for the metric of messages."""
    if isinstance(error, UnreadableMessageError):
        log.warning("unreadable", **_where(record), error=str(error))
    else:
        log.error("message_set_aside", **_where(record), attempts=attempts, error=summary(error))
    await dead_letters.send_to_dlq(record, error, attempts)
    return "dead"


def is_for_another(record: Record, service: str) -> bool:
    """Whether the message is a retry for another service; this one processed it when it came first.

    The header is the last one of a retry, so that this costs the same for any number of headers.
    """
    if not record.headers or record.headers[-1][0] != RETRIED_FOR:
        return False
    return record.headers[-1][1] != service.encode()


def retry_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The headers with which a message of a dead-letter queue is sent to its topic again.

    Its own, the attempts so far, and the service that the retry is for.
    """
    service = (header(headers, "dead_lettered_by") or "").encode()
    kept = [(name, value) for name, value in headers if name not in DLQ_HEADERS or name == "attempts"]
    return [*((name, value) for name, value in kept if name != RETRIED_FOR), (RETRIED_FOR, service)]


def summary(error: Exception) -> str:
    """An error in one line, with the place where it was raised.

    Many messages can fail in a row. Formatting a whole traceback for each takes most of a second in colour.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return repr(error)[:_SUMMARY_CHARACTERS] + place


def _where(record: Record) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
