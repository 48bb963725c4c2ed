"""Faults to plant in services, so that an oracle that sees nothing is found: `make chaos ARGS=mutants`.

Each mutant is a copy of the code with one change. The system is run with it for one episode, and the oracle must find
the fault at the stage that is named. `tests/unit/chaos/test_mutants.py` requires every change to fit the code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.findings import Fault
from tests.chaos.report import EpisodeResult, result_from
from tests.defences.planted import ROOT, Change, plant
from tests.defences.planted import changed as changed_once

CODE = ("libraries", "services")
PATIENCE_S = 40.0
"""Seconds after which what has not arrived counts as lost: what a mutant has lost never arrives."""
_HARMLESS = "kill_service/fleet_console"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault."""

    name: str
    file: str
    """Path of the changed file in the repository."""
    old: str
    """Text that occurs once in the file."""
    new: str
    stage: str
    """Stage at which the oracle must find it."""
    fault: Fault
    nemesis: str = _HARMLESS


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the archiver skips an offset",
        "services/telemetry_archiver/core.py",
        "        batch = arrival.batch\n        if batch is None:",
        "        batch = arrival.batch\n        if batch is None or arrival.offset % 40 == 7:",
        "archive",
        Fault.LOST,
    ),
    Mutant(
        "the gateway acknowledges and does not store",
        "services/telemetry_gateway/intake.py",
        "        event = prepared.event\n        try:",
        "        event = prepared.event\n        if int(event.event_id, 16) % 40 == 0:\n"
        "            return asyncio.sleep(0)\n        try:",
        "archive",
        Fault.LOST,
    ),
    Mutant(
        "the detector announces a firing twice",
        "services/trigger_detector/stream.py",
        "                trigger = firing.trigger\n                metrics",
        "                twin = dataclasses.replace(firing, firing_id=firing.firing_id[::-1])\n"
        "                events.append(event_of_firing(twin, record, self._clock))\n"
        "                trigger = firing.trigger\n                metrics",
        "detector",
        Fault.DOUBLED,
    ),
    Mutant(
        "the detector's core forgets a firing",
        "services/trigger_detector/core.py",
        "        if firing is not None:\n            firings",
        "        if firing is not None and int(firing.firing_id, 16) % 6:\n            firings",
        "detector",
        Fault.LOST,
    ),
    Mutant(
        "the label desk commits before it handles",
        "libraries/fleetloop/kit/messaging/consumer.py",
        "                if polled:\n",
        '                if polled and reader._group == "label-desk":\n'
        "                    await reader.commit({tp: each[-1].offset + 1 for tp, each in polled.items()})\n"
        "                    await asyncio.sleep(5.0)\n                if polled:\n",
        "desk",
        Fault.STUCK,
        "kill_service/label_desk",
    ),
    Mutant(
        "the curator drops an agreed sample",
        "services/dataset_curator/stream.py",
        "        if labelled is not None:\n",
        "        if labelled is not None and sum(labelled.sample_id.encode()) % 3:\n",
        "curator",
        Fault.LOST,
    ),
    Mutant(
        "the monitor counts a report twice",
        "services/fleet_monitor/core.py",
        "    placed = report.where\n",
        "    placed = report.where\n    if report.sequence % 3 == 2:\n"
        "        report = replace(report, sums=report.sums + report.sums)\n",
        "monitor",
        Fault.DOUBLED,
    ),
    Mutant(
        "the keeper counts a clip twice",
        "services/campaign_keeper/stream.py",
        "        ledger.count_for_firing(tx, firing_id, Count.CLIPS, now_ns)\n",
        "        ledger.count_for_firing(tx, firing_id, Count.CLIPS, now_ns, 2)\n",
        "ledger",
        Fault.DOUBLED,
    ),
    Mutant(
        "services drop what they cannot read",
        "libraries/fleetloop/kit/messaging/dead_letters.py",
        "    await dead_letters.send_to_dlq(record, error, attempts)\n",
        "",
        "dead-letter queue",
        Fault.LOST,
        "poison",
    ),
)


def changed(mutant: Mutant, text: str) -> str:
    """The text of the mutant's file with its fault. Raises ValueError if the change does not fit."""
    text = changed_once(Change(mutant.file, mutant.old, mutant.new), text)
    future = "from __future__ import annotations\n"
    return text.replace(future, future + "\nimport dataclasses\n", 1) if "dataclasses." in mutant.new else text


def run_mutant(mutant: Mutant, folder: Path, options: Sequence[str]) -> EpisodeResult:
    """Run one episode with the mutant in a process of its own, since the harness imports some of the same code."""
    code = folder / "code"
    plant((), code)
    file = code / mutant.file
    file.write_text(changed(mutant, file.read_text()))
    command = [sys.executable, "-m", "tests.chaos", "--nemesis", mutant.nemesis, "--out", str(folder / "results")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*(str(code / name) for name in CODE), str(ROOT)])}
    with (folder / "log").open("w") as log:
        subprocess.run(
            [*command, "--patience-s", str(PATIENCE_S), *options],
            cwd=ROOT, env=env, stdout=log, stderr=log, check=False,
        )  # fmt: skip
    shutil.rmtree(code)
    (results,) = (folder / "results").glob("*/results.jsonl")
    return result_from(json.loads(results.read_text().splitlines()[0]))


def found(mutant: Mutant, result: EpisodeResult) -> int:
    """How many findings are those that the mutant has to cause."""
    return sum((each.stage, each.fault) == (mutant.stage, mutant.fault) for each in result.findings)
