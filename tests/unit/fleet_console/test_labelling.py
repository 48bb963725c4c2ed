"""One person's work at the desk: every answer arrives once, can be undone, and survives a desk that is away."""

from __future__ import annotations

import itertools

import pytest

from fleet_console.desk import DeskAwayError, DeskRefusedError, TooLateError
from fleet_console.labelling import Labelling, State
from fleetloop.protos.label.v1 import label_pb2

S = 10**9


class PaperDesk:
    """A desk of as many tasks as told. Set `away`, `late` or `blind` for what goes wrong."""

    def __init__(self, tasks: int) -> None:
        self.waiting = [f"t{number}" for number in range(tasks)]
        self.answers: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.released: list[str] = []
        self.away = self.late = self.blind = self.fail_frames = False

    def _call(self) -> None:
        if self.away:
            raise DeskAwayError("it does not answer")

    def _assignment(self, task_id: str) -> label_pb2.LabelAssignment:
        choices = [label_pb2.LabelChoice(name=name, text=name.title()) for name in ("plain", "none")]
        return label_pb2.LabelAssignment(
            task=label_pb2.LabelTaskCreated(task_id=task_id),
            lease_id=f"lease-{task_id}",
            lease_expires_at_utc_ns=100 * S,
            questions=[label_pb2.LabelQuestion(task="stop_sign", text="Well?", choices=choices)],
        )

    async def lease(self, lease_s: float) -> label_pb2.LabelAssignment | None:
        self._call()
        return self._assignment(self.waiting.pop(0)) if self.waiting else None

    async def frames(self, task_id: str, instants: int) -> list[label_pb2.TaskFrame]:
        self._call()
        if self.fail_frames:
            raise DeskAwayError("it takes too long to answer")
        if self.blind:
            raise DeskRefusedError("the clip is gone")
        return [label_pb2.TaskFrame(camera="front")]

    async def submit(self, request: label_pb2.SubmitLabelRequest) -> None:
        self._call()
        if self.late:
            raise TooLateError("the lease has expired")
        self.requests.append(request.request_id)
        self.answers[request.task_id] = dict(request.answers)

    async def undo(self, task_id: str, request_id: str) -> label_pb2.LabelAssignment:
        self._call()
        if self.late:
            raise TooLateError("the task has ended")
        del self.answers[task_id]
        return self._assignment(task_id)

    async def release(self, task_id: str, lease_id: str) -> None:
        self._call()
        self.released.append(task_id)
        self.waiting.insert(0, task_id)

    async def open_tasks(self) -> int:
        self._call()
        return len(self.waiting)


def work_at(desk: PaperDesk) -> Labelling:
    ids = itertools.count()
    return Labelling(desk, 60.0, 5, lambda: f"r{next(ids)}")


async def test_choices_and_cannot_tell_go_to_the_task_that_was_shown() -> None:
    desk = PaperDesk(3)
    work = work_at(desk)
    await work.refresh(0)
    assert (work.state, work.assignment and work.assignment.task.task_id) == (State.ASKING, "t0")
    assert await work.answer("t0", 1)
    assert await work.answer("t1", None)
    assert not await work.answer("t1", 0), "t2 lies on the table by now"
    assert not await work.answer("t2", 2), "there is no third choice"
    assert desk.answers == {"t0": {"stop_sign": "none"}, "t1": {}}
    assert (work.answered, work.state) == (2, State.ASKING)
    assert await work.answer("t2", 0)
    assert (work.answered, work.state) == (3, State.EMPTY)


async def test_answers_are_taken_back_in_reverse_and_their_tasks_asked_again() -> None:
    desk = PaperDesk(3)
    work = work_at(desk)
    await work.refresh(0)
    await work.answer("t0", 0)
    await work.answer("t1", 0)
    assert await work.undo()
    assert work.assignment is not None
    assert work.assignment.task.task_id == "t1"
    assert desk.released == ["t2"], "the lease of the displayed task is released at once"
    assert await work.undo()
    assert (work.assignment.task.task_id, desk.answers, work.answered) == ("t0", {}, 0)
    assert not await work.undo()


async def test_an_undo_that_comes_too_late_says_so_and_keeps_the_task_on_the_table() -> None:
    desk = PaperDesk(2)
    work = work_at(desk)
    await work.refresh(0)
    await work.answer("t0", 0)
    desk.late = True
    assert await work.undo()
    assert "Too late" in work.message
    assert not work.can_undo
    assert work.assignment is not None
    assert work.assignment.task.task_id == "t1"


async def test_an_answer_given_while_the_desk_is_away_is_sent_again_under_the_same_id() -> None:
    desk = PaperDesk(2)
    work = work_at(desk)
    await work.refresh(0)
    desk.away = True
    assert await work.answer("t0", 0)
    assert work.state is State.AWAY
    assert "kept" in work.warning
    assert not await work.answer("t0", 1), "the first answer stands"
    await work.refresh(S)
    assert work.state is State.AWAY
    desk.away = False
    await work.refresh(2 * S)
    assert desk.answers == {"t0": {"stop_sign": "plain"}}
    assert desk.requests == ["r0"]
    assert (work.state, work.answered, work.warning) == (State.ASKING, 1, "")


async def test_the_page_recovers_when_the_desk_was_away_at_the_start() -> None:
    desk = PaperDesk(1)
    desk.away = True
    work = work_at(desk)
    await work.refresh(0)
    assert work.state is State.AWAY
    desk.away = False
    await work.refresh(S)
    assert (work.state, work.warning) == (State.ASKING, "")


async def test_pictures_that_could_not_be_fetched_are_fetched_once_the_desk_is_back() -> None:
    desk = PaperDesk(1)
    work = work_at(desk)
    desk.fail_frames = True
    await work.refresh(0)
    assert (work.state, list(work.frames)) == (State.AWAY, [])
    desk.fail_frames = False
    await work.refresh(S)
    assert (work.state, len(work.frames), work.warning) == (State.ASKING, 1, "")


async def test_a_lease_that_ran_out_pauses_until_somebody_is_there() -> None:
    desk = PaperDesk(2)
    work = work_at(desk)
    await work.refresh(0)
    await work.refresh(100 * S)
    assert (work.state, work.assignment) == (State.PAUSED, None)
    await work.refresh(101 * S)
    assert desk.waiting == ["t1"], "a paused page holds nothing"
    await work.go_on()
    assert work.state is State.ASKING


async def test_an_answer_that_comes_too_late_is_not_counted() -> None:
    desk = PaperDesk(2)
    work = work_at(desk)
    await work.refresh(0)
    desk.late = True
    await work.answer("t0", 0)
    assert (desk.answers, work.answered, work.can_undo) == ({}, 0, False)
    assert "too late" in work.message
    assert work.state is State.ASKING


async def test_a_clip_that_is_gone_still_lets_one_say_cannot_tell() -> None:
    desk = PaperDesk(1)
    desk.blind = True
    work = work_at(desk)
    await work.refresh(0)
    assert work.state is State.ASKING
    assert "cannot be shown" in work.warning
    assert await work.answer("t0", None)


@pytest.mark.parametrize("away", [False, True])
async def test_leaving_gives_the_task_back_and_never_fails(away: bool) -> None:
    desk = PaperDesk(1)
    work = work_at(desk)
    await work.refresh(0)
    desk.away = away
    await work.leave()
    assert desk.released == ([] if away else ["t0"])
