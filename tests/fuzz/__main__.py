"""Fuzz everything that takes bytes from outside: make fuzz ARGS="--inputs 1000000 --seed 1 --write".

Every target runs in a process of its own, with a limit on memory and on the time of one input. The figures go to
docs/results/fuzzing.md with --write. A fault is shown with the input that caused it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "fuzzing.md"
_HEADER = """# Fuzzing

Everything that takes bytes from outside is fuzzed with [atheris](https://github.com/google/atheris), which guides its
mutations by the code that they reach: `make fuzz ARGS="--inputs 1000000 --write"` repeats this page. A target has to
accept the bytes or refuse them with a typed error. Any other exception, an input that takes longer than 20 s, or more
than 2 GiB of memory is a fault and ends the run.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one target."""

    name: str
    inputs: int
    outcomes: dict[str, int]
    peak_mib: int
    seconds: float
    fault: str
    data: str


def fuzz(name: str, inputs: int, seed: int, folder: Path) -> Outcome:
    """Run one target in a process of its own."""
    report = folder / f"{name}.json"
    began = time.monotonic()
    with (folder / f"{name}.log").open("w+") as log:
        command = [sys.executable, "-m", "tests.fuzz.run", name, str(inputs), str(seed), str(report)]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, env=os.environ).returncode
        log.seek(0)
        text = log.read()
    found: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {"inputs": 0, "outcomes": {}}
    fault = found.get("fault", "")
    if code != 0 and not fault:
        fault = f"exit code {code}: {text[-500:]}"
    peak = next((line for line in text.splitlines() if "peak_rss_mb" in line), ": 0").rpartition(":")[2]
    outcome = {str(kind): int(count) for kind, count in found["outcomes"].items()}
    seconds = time.monotonic() - began
    return Outcome(name, int(found["inputs"]), outcome, int(peak), seconds, fault, found.get("input", ""))


def page(outcomes: list[Outcome], seed: int) -> str:
    """The results as a page."""
    total = sum(each.inputs for each in outcomes)
    faults = sum(bool(each.fault) for each in outcomes)
    lines = [
        _HEADER,
        f"Seed {seed}: {total:,} inputs in all, {faults} faults.\n",
        "| target | inputs | accepted | refused | kinds of refusal | peak memory MiB | faults |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        accepted = each.outcomes.get("accepted", 0)
        kinds = sorted(set(each.outcomes) - {"accepted", "fault"})
        refused = sum(each.outcomes[kind] for kind in kinds)
        row = (each.name, f"{each.inputs:,}", f"{accepted:,}", f"{refused:,}", ", ".join(kinds) or "none")
        lines.append(f"| {' | '.join(row)} | {each.peak_mib} | {each.fault[:80] or 0} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="only these targets")
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs in all, over the targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/results/fuzzing.md")
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    shares = sum(TARGETS[name].share for name in names)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            inputs = max(1000, round(arguments.inputs * TARGETS[name].share / shares))
            print(f"{name}: {inputs} inputs", flush=True)
            outcome = fuzz(name, inputs, arguments.seed, Path(folder))
            outcomes.append(outcome)
            print(f"  {outcome.seconds:.0f} s, {outcome.outcomes}, peak {outcome.peak_mib} MiB", flush=True)
            if outcome.fault:
                print(f"  FAULT: {outcome.fault}\n  input: {outcome.data[:2000]}", flush=True)
    if arguments.write:
        RESULTS.write_text(page(outcomes, arguments.seed))
    sys.exit(any(each.fault for each in outcomes))


if __name__ == "__main__":
    main()
