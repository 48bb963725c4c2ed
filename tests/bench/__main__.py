"""`make bench`: every benchmark of this folder, or those named, one after the other.

Each prints ratios measured in one run and leaves its figures in .fleetloop/bench. Nothing here is asserted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RESULTS = Path(".fleetloop/bench")
BENCHMARKS = {
    "gateway": ("gateway_rate", "batches checked, stored and acknowledged over gRPC"),
    "detector": ("detector.bench", "triggers from topic to topic, beside peers and a consumer that only parses"),
    "archive": ("archive_rate", "telemetry written to Parquet and read back"),
    "desk": ("desk_scale", "the desk's looks with 1,000 and 99,000 ended tasks"),
    "gates": (
        "rollout_gates examination_gates",
        "wrong decisions of simulated rollouts, growth of false labels, planted regressions before the examination",
    ),
    "monitor": ("monitor_record", "a report of a vehicle that drove around the clock for 30 days"),
}


def main(wanted: list[str]) -> int:
    """Runs benchmarks by name; returns how many failed."""
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there are:")
        for name, (_, text) in BENCHMARKS.items():
            print(f"  {name:10} {text}")
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in wanted or BENCHMARKS:
        module, text = BENCHMARKS[name]
        print(f"== {name}: {text}", flush=True)
        lines: list[str] = []
        for each in module.split():
            command = [sys.executable, "-m", f"tests.bench.{each}"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
                for line in running.stdout or ():
                    print(line, end="", flush=True)
                    lines.append(line)
            failed += running.returncode != 0
        (RESULTS / f"{name}.txt").write_text("".join(lines))
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
