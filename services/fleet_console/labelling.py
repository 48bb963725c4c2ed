"""One person's labelling session, without any page: the current task, the answers, and what can be undone.

Everything that can go wrong ends in a state that the page can show: there is no task, the desk is away (an answer
that was given is kept and retried under the same request id), or the lease of a task expired.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from fleet_console.desk import Desk, DeskAwayError, DeskRefusedError, TooLateError
from fleetloop.protos.label.v1 import label_pb2

_UNDO_DEPTH = 20


class State(StrEnum):
    """What the page shows."""

    STARTING = "starting"
    ASKING = "asking"
    EMPTY = "empty"
    AWAY = "away"
    PAUSED = "paused"
    """The lease of a task expired; nothing is leased until the person confirms that they are there."""


@dataclass(slots=True)
class Labelling:
    """One person's session. Every method leaves a state that can be shown; only leave() is final."""

    desk: Desk
    lease_s: float
    instants: int
    new_id: Callable[[], str]
    state: State = State.STARTING
    assignment: label_pb2.LabelAssignment | None = None
    frames: Sequence[label_pb2.TaskFrame] = ()
    message: str = ""
    """What just happened, as a sentence."""
    warning: str = ""
    """What is wrong now, as a sentence."""
    answered: int = 0
    open_tasks: int = 0
    _busy: bool = False
    _given: list[str] = field(default_factory=list)
    """Ids of answered tasks, the newest last."""
    _unsent: label_pb2.SubmitLabelRequest | None = None

    @property
    def can_undo(self) -> bool:
        """True when there is an answer to undo."""
        return bool(self._given)

    async def answer(self, task_id: str, choice: int | None) -> bool:
        """Answer the current task: `choice` is the index of a choice, or None for "I cannot tell".

        False when there is no such choice, or when `task_id` is no longer the current task.
        """
        if self._busy or self.assignment is None or self.assignment.task.task_id != task_id or self._unsent:
            return False
        question = self.assignment.questions[0]
        if choice is not None and not 0 <= choice < len(question.choices):
            return False
        answers = {} if choice is None else {question.task: question.choices[choice].name}
        self._unsent = label_pb2.SubmitLabelRequest(
            request_id=self.new_id(), task_id=task_id, lease_id=self.assignment.lease_id, answers=answers
        )
        text = "I cannot tell" if choice is None else question.choices[choice].text
        await self._guarded(lambda: self._send(f"Answered: {text}."))
        return True

    async def undo(self) -> bool:
        """Undo the last answer and make its task the current one again; False when there is no answer to undo."""
        if self._busy or not self._given or self._unsent:
            return False
        await self._guarded(self._undo_last)
        return True

    async def refresh(self, now_utc_ns: int) -> None:
        """Call it once per second: it fetches a task, retries an unsent answer, and notices an expired lease."""
        if self._busy:
            return
        if self._unsent is not None:
            await self._guarded(lambda: self._send("The desk is back; your answer has arrived."))
        elif self.state is State.PAUSED:
            return
        elif self.assignment is None:
            await self._guarded(self._next)
        elif self.assignment.lease_expires_at_utc_ns <= now_utc_ns:
            self._clear()
            self.state, self.message = State.PAUSED, ""
        elif self.state is State.AWAY:
            assignment = self.assignment
            await self._guarded(lambda: self._show(assignment))
        else:
            with suppress(DeskAwayError, DeskRefusedError, TooLateError):
                self.open_tasks = await self.desk.open_tasks()

    async def go_on(self) -> None:
        """Fetch the next task after a pause."""
        if self.state is State.PAUSED and not self._busy:
            await self._guarded(self._next)

    async def leave(self) -> None:
        """Release the current task, so that others need not wait for its lease to expire."""
        if self.assignment is not None and self._unsent is None:
            with suppress(DeskAwayError, DeskRefusedError, TooLateError):
                await self.desk.release(self.assignment.task.task_id, self.assignment.lease_id)
        self._clear()

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        self._busy, self.warning = True, ""
        try:
            await step()
        except DeskAwayError as error:
            self.state = State.AWAY
            kept = " Your answer is kept and will be sent." if self._unsent else ""
            self.warning = f"The label desk is away: {error}.{kept}"
        except DeskRefusedError as error:
            self._unsent = None
            self._clear()
            self.state, self.warning = State.AWAY, f"The label desk refuses: {error}"
        finally:
            self._busy = False

    async def _send(self, said: str) -> None:
        request = self._unsent
        if request is None:
            return
        try:
            await self.desk.submit(request)
        except TooLateError:
            said = "That answer came too late: the task has ended or your lease on it has expired."
        else:
            self._given = [*self._given[-_UNDO_DEPTH:], request.task_id]
            self.answered += 1
        self._unsent = None
        self._clear()
        self.message = said
        await self._next()

    async def _undo_last(self) -> None:
        task_id = self._given[-1]
        try:
            assignment = await self.desk.undo(task_id, self.new_id())
        except TooLateError:
            self._given.clear()
            self.message = "Too late to undo that answer: the task has ended."
            return
        self._given.pop()
        self.answered -= 1
        await self.leave()
        self.message = "The answer is undone. Answer the task again."
        await self._show(assignment)

    async def _next(self) -> None:
        assignment = await self.desk.lease(self.lease_s)
        if assignment is None:
            self.state = State.EMPTY
            self.open_tasks = await self.desk.open_tasks()
        else:
            await self._show(assignment)

    async def _show(self, assignment: label_pb2.LabelAssignment) -> None:
        self.assignment = assignment
        self.state = State.ASKING
        try:
            self.frames = await self.desk.frames(assignment.task.task_id, self.instants)
        except (DeskRefusedError, TooLateError) as error:
            self.frames = ()
            self.warning = f"The pictures of this task cannot be shown ({error}): say that you cannot tell."
        self.open_tasks = await self.desk.open_tasks()

    def _clear(self) -> None:
        self.assignment, self.frames = None, ()
