"""`fleetloop dlq`: messages that services could not process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.installation import RunningFleet
from fleetloop.commands.options import FOLDER, AsJson, Folder
from fleetloop.domain.dead_letter_queues import DeadLetters
from fleetloop.domain.dead_letters import DeadLetter, DeadLetterId, DeadLetterState
from fleetloop.errors import UserError
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.process.clock import SystemClock, ms_to_ns, utc_second
from fleetloop.kit.refusal import RefusedError
from fleetloop.shipped import topic_catalogue

T = TypeVar("T")
app = typer.Typer(help="Messages that services could not process: the dead-letter queues.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="Message, as `fleetloop dlq list` shows it: <topic>/<partition>/<offset>.")]
_HEX_BYTES = 256


@app.command("list")
def list_(
    topic: Annotated[str, typer.Option(help="Only messages of this topic.")] = "",
    service: Annotated[str, typer.Option(help="Only messages that this service set aside.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also retried and discarded messages.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest messages of each topic.")] = 100,
    as_json: AsJson = False,
    folder: Folder = FOLDER,
) -> None:
    """List the newest messages that were set aside, newest first."""
    found = [
        letter
        for letter in _run(folder, lambda letters: letters.newest(limit))
        if (everything or letter.state is DeadLetterState.OPEN)
        and topic in ("", letter.id.topic)
        and service in ("", letter.service)
    ]
    if as_json:
        print(json.dumps([_as_json(letter) for letter in found], indent=1))
        return
    table = Table("message", "set aside", "service", "reason", "attempts", "state", "error")
    for letter in found:
        error = f"{letter.error_type}: {letter.error}"
        row = (letter.service, letter.reason, str(letter.attempts), letter.state.value, error[:120])
        table.add_row(str(letter.id), _when(letter), *row)
    Console().print(table if found else "No message waits in a dead-letter queue.", markup=False)


@app.command()
def show(message: Id, as_json: AsJson = False, folder: Folder = FOLDER) -> None:
    """Show one message: why it was set aside, its headers, and its content."""
    letter = _run(folder, lambda letters: letters.get(_id(message)))
    if as_json:
        print(json.dumps(_as_json(letter), indent=1))
        return
    decided = f" by {letter.by}: {letter.why}" if letter.by else ""
    for name, text in (
        ("message", str(letter.id)),
        ("first read at", letter.origin),
        ("set aside", f"{_when(letter)} by {letter.service}, after {letter.attempts} attempts"),
        ("reason", f"{letter.reason}: {letter.error_type}"),
        ("error", letter.error),
        ("state", letter.state.value + decided),
        ("key", repr(letter.record.key)),
        ("content", f"{len(letter.record.value)} bytes of {_kind(letter.id.topic)}"),
        ("", letter.record.value[:_HEX_BYTES].hex(" ", 8)),
    ):
        print(f"{name:14}{text}")


@app.command()
def retry(
    message: Id,
    reason: Annotated[str, typer.Option(help="Reason, recorded with the decision.")] = "",
    folder: Folder = FOLDER,
) -> None:
    """Send a message to its topic again, for the service that had set it aside."""
    letter = _run(folder, lambda letters: letters.retry(_id(message), reason))
    print(f"{letter.id} was sent to {letter.id.topic} again, for {letter.service}.")


@app.command()
def discard(
    message: Id,
    reason: Annotated[str, typer.Option(help="Reason, recorded with the decision.")],
    folder: Folder = FOLDER,
) -> None:
    """Record that nothing is to be done about a message."""
    letter = _run(folder, lambda letters: letters.discard(_id(message), reason))
    print(f"{letter.id} was discarded. Its bytes stay in {letter.id.queue} until its retention has passed.")


def _id(text: str) -> DeadLetterId:
    try:
        return DeadLetterId.parse(text)
    except ValueError as error:
        raise UserError(f"{error}.", "`fleetloop dlq list` shows the messages.") from error


def _run(folder: Path, work: Callable[[DeadLetters], Awaitable[T]]) -> T:
    fleet = RunningFleet.open(folder)
    topics = load_topics(topic_catalogue())
    letters = DeadLetters(fleet.kafka_settings(), topics, str(fleet.credentials().identity), SystemClock())

    async def run() -> T:
        return await work(letters)

    try:
        return asyncio.run(run())
    except RefusedError as refusal:
        raise UserError(f"{refusal}.", "`fleetloop dlq list` shows the messages.") from refusal
    except Exception as error:
        if not is_outage(error):
            raise
        raise UserError(
            f"Kafka at {fleet.kafka_bootstrap_servers} did not answer: {error!r}.",
            "See `fleetloop status`; only operators may read and write the dead-letter queues.",
        ) from error


def _when(letter: DeadLetter) -> str:
    return utc_second(ms_to_ns(letter.record.appended_ms)).strftime("%Y-%m-%d %H:%M:%S")


def _kind(topic: str) -> str:
    known = load_topics(topic_catalogue()).get(topic)
    return known.message if known is not None else "an unknown kind"


def _as_json(letter: DeadLetter) -> dict[str, object]:
    return {
        "message": str(letter.id),
        "set_aside_at": _when(letter),
        "service": letter.service,
        "reason": letter.reason,
        "error_type": letter.error_type,
        "error": letter.error,
        "attempts": letter.attempts,
        "origin": letter.origin,
        "state": letter.state.value,
        "decided_by": letter.by,
        "why": letter.why,
        "key": None if letter.record.key is None else letter.record.key.hex(),
        "content": letter.record.value.hex(),
    }
