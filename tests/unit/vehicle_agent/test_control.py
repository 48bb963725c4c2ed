"""The caller learns what is wrong with a phase, and never reads part of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.small_disk import small_disk

from vehicle_agent.control import Control, GroundTruthLog, Phase, parse_phase
from vehicle_agent.model import AgentError


def test_a_phase_is_driven_once(tmp_path: Path) -> None:
    control = Control(tmp_path, "000")
    assert control.next_phase("") is None
    (tmp_path / "phase.json").write_text(json.dumps({"phase": "one", "seconds": 60, "seed": 3}))
    assert control.next_phase("") == Phase("one", 60.0, 3)
    assert control.next_phase("one") is None
    (tmp_path / "phase.json").write_text(json.dumps({"phase": "end", "stop": True}))
    assert control.next_phase("one") == Phase("end", 0.0, stop=True)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "not an object"),
        ("{}", "phase"),
        ('{"phase": "a", "secs": 1}', "unknown field secs"),
        ('{"phase": "a"}', "seconds"),
        ('{"phase": "a", "seconds": -1}', "seconds"),
        ('{"phase": "a", "seconds": "soon"}', "soon"),
        ('{"phase": "a", "seconds": 1e12}', "10^9"),
    ],
)
def test_a_wrong_phase_is_named(text: str, word: str) -> None:
    with pytest.raises(AgentError) as caught:
        parse_phase(text)
    assert word in str(caught.value)


def test_progress_is_replaced_whole_and_processes_do_not_share_it(tmp_path: Path) -> None:
    for name in ("000", "012"):
        Control(tmp_path, name).report({"state": name})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["progress-000.json", "progress-012.json"]
    assert json.loads((tmp_path / "progress-012.json").read_text()) == {"state": "012"}


def test_the_truth_is_a_line_each_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "truth.jsonl"
    for number in range(2):
        log = GroundTruthLog(path)
        log.append([{"vehicle": "a", "n": number}, {"vehicle": "b", "n": number}])
        log.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [0, 0, 1, 1]
    GroundTruthLog(None).append([{"vehicle": "a"}])


def test_a_full_disk_leaves_the_old_progress_and_every_whole_line_of_the_truth(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        control, log = Control(disk / "control", "000"), GroundTruthLog(disk / "truth.jsonl")
        control.report({"state": "driving"})
        for number in range(1500):
            log.append([{"n": number, "text": "x" * 50}])
        (disk / "filler").write_bytes(b"")
        control.report({"state": "x" * 60_000})
        progress = disk / "control" / "progress-000.json"
        assert json.loads(progress.read_text()) == {"state": "driving"}
        assert [path.name for path in progress.parent.iterdir()] == [progress.name]
        progress.unlink()
        log.append([{"n": 2000}])
        log.close()
        numbers = []
        for line in (disk / "truth.jsonl").read_text().splitlines():
            try:
                numbers.append(json.loads(line)["n"])
            except ValueError:
                continue  # the torn line
        assert numbers[-1] == 2000
        assert numbers[:-1] == list(range(len(numbers) - 1))
