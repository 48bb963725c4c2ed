"""A history is read back as it was written, and a damaged one is named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from tests.chaos.history import SUMMED, History, HistoryError, Recorder, read_history


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "history.jsonl")
    recorder.add("sent", id="b1", vehicle="car", content="c")
    recorder.add("acknowledged", id="b1")
    recorder.add("refused", id="b2", why="FUTURE")
    recorder.add("report_sent", id="r1", amounts=dict.fromkeys(SUMMED, 0.125))
    recorder.add("report_acknowledged", id="r1")
    recorder.add("clip", firing="f1", clip="c1")
    recorder.add("planted", mark="m", input="bytes", topic="t", refused_by=["label-router"])
    recorder.add("door", mark="m", code="")
    recorder.add("note", text="something to read")
    recorder.add("nemesis", name="kill", seed=7, started_s=1.0, stopped_s=2.0, recovered_s=None, detail="gateway")
    recorder.close()
    assert read_history(recorder.path) == recorder.history


def test_only_acknowledged_reports_are_summed_and_the_sums_are_exact() -> None:
    history = History()
    for number in range(10):
        amounts = dict.fromkeys(SUMMED, 0.1)
        history.apply({"kind": "report_sent", "id": f"r{number}", "amounts": amounts})
        if number < 3:
            history.apply({"kind": "report_acknowledged", "id": f"r{number}"})
    assert history.sums() == {**dict.fromkeys(SUMMED, 3 * Fraction(0.1)), "reports": Fraction(3)}


@pytest.mark.parametrize("line", ["not json", '{"kind":"sent"}', '{"kind":"dreamt"}', "[]"])
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"kind":"note"}\n' + line + "\n")
    with pytest.raises(HistoryError, match=r"history.jsonl:2"):
        read_history(path)


def test_a_recorder_never_writes_over_a_history(tmp_path: Path) -> None:
    Recorder(tmp_path / "history.jsonl").close()
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "history.jsonl")
