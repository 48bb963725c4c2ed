"""What an operator does about messages that were set aside, and what the page shows of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from fleet_console.login.rights import HANDLES_DEAD_LETTERS
from fleet_console.login.sessions import SessionEndedError, Visit
from fleet_console.model import Row
from fleetloop.domain.dead_letter_queues import DeadLetters
from fleetloop.domain.dead_letters import DeadLetter, DeadLetterId, DeadLetterState
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.topics import Topic
from fleetloop.kit.process.clock import Clock, ms_to_ns, utc_second
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.refusal import RefusedError

log = get_logger(__name__)
T = TypeVar("T")
NEWEST = 200
_HEX_BYTES = 512
_LONGEST = 300


class HandlingError(Exception):
    """It was not done; the text says why."""


class Handling:
    """The dead-letter queues, in the name of one person. Every call checks the person's roles at that moment."""

    def __init__(self, settings: ServiceSettings, topics: Mapping[str, Topic], visit: Visit, clock: Clock) -> None:
        self._visit = visit
        self._letters = DeadLetters(settings, topics, f"user/{visit.name}", clock)

    async def newest(self) -> Sequence[DeadLetter]:
        """The newest messages, newest first. Raises HandlingError."""
        return await self._do(lambda: self._letters.newest(NEWEST))

    async def get(self, where: str) -> DeadLetter:
        """One message. Raises HandlingError."""
        place = _place(where)
        return await self._do(lambda: self._letters.get(place))

    async def retry(self, where: str, reason: str) -> None:
        """Send a message to its topic again. Raises HandlingError."""
        place = _place(where)
        await self._do(lambda: self._letters.retry(place, _reason(reason)))
        log.info("dead_letter_retried", message=where, by=self._visit.name)

    async def discard(self, where: str, reason: str) -> None:
        """Record that nothing is to be done about a message. Raises HandlingError, also without a reason."""
        place = _place(where)
        if not reason.strip():
            raise HandlingError("give a reason; it is recorded with your name")
        await self._do(lambda: self._letters.discard(place, _reason(reason)))
        log.info("dead_letter_discarded", message=where, by=self._visit.name)

    async def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            roles = self._visit.sessions.roles(self._visit.session)
            if HANDLES_DEAD_LETTERS not in roles:
                raise HandlingError(f"it needs the role {HANDLES_DEAD_LETTERS}")
            return await work()
        except SessionEndedError as error:
            raise HandlingError("your session has ended; log in again") from error
        except RefusedError as error:
            raise HandlingError(str(error)) from error
        except Exception as error:
            if isinstance(error, HandlingError) or not is_outage(error):
                raise
            log.warning("kafka_away", error=repr(error))
            raise HandlingError("Kafka does not answer, or does not allow it") from error


def row(letter: DeadLetter) -> Row:
    """One line of the table. The headers are from outside and may be of any length."""
    decided = f" by {letter.by}: {letter.why}" if letter.by else ""
    return {
        "key": str(letter.id),
        "message": str(letter.id),
        "when": utc_second(ms_to_ns(letter.record.appended_ms)).strftime("%Y-%m-%d %H:%M:%S"),
        "service": letter.service[:_LONGEST],
        "reason": letter.reason[:_LONGEST],
        "attempts": letter.attempts,
        "state": (letter.state.value + decided)[:_LONGEST],
        "error": f"{letter.error_type}: {letter.error}"[:_LONGEST],
    }


def details(letter: DeadLetter) -> Mapping[str, str]:
    """What the page shows of one message."""
    content = letter.record.value
    cut = f" (the first {_HEX_BYTES})" if len(content) > _HEX_BYTES else ""
    return {
        "First read at": letter.origin[:_LONGEST],
        "Error": f"{letter.error_type}: {letter.error}"[:4000],
        "Key": repr(letter.record.key)[:_LONGEST],
        f"Content, {len(content)} bytes{cut}": content[:_HEX_BYTES].hex(" ", 4),
    }


def is_open(letter: DeadLetter) -> bool:
    """Whether it waits for a decision."""
    return letter.state is DeadLetterState.OPEN


def _place(text: str) -> DeadLetterId:
    try:
        return DeadLetterId.parse(text)
    except ValueError as error:
        raise HandlingError(str(error)) from error


def _reason(text: str) -> str:
    return text.strip()[:1000]
