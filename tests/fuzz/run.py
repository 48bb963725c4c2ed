"""Fuzzes one target in this process with atheris (libFuzzer): python -m tests.fuzz.run TARGET RUNS SEED REPORT."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import atheris

import fleetloop.triggerlang.kernels.warm  # before anything is instrumented: Numba cannot compile what atheris adds
import fleetloop.triggerlang.machine  # noqa: F401

with atheris.instrument_imports(
    include=["fleetloop", "telemetry_gateway", "trigger_detector", "telemetry_archiver", "label_router", "label_desk",
             "dataset_curator", "training_orchestrator", "rollout_controller", "campaign_keeper", "fleet_monitor"],
    exclude=["fleetloop.protos"],
):  # fmt: skip
    from tests.fuzz.targets import TARGETS

_TIMEOUT_S = 20
_RSS_MIB = 2048
_REPORT_EVERY = 1000


def main() -> None:
    """Run until the number of inputs is reached. A fault ends the process with the input in its report."""
    name, runs, seed, report = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    logging.disable()
    target = TARGETS[name]
    outcomes: Counter[str] = Counter()

    def write(fault: str = "", data: bytes = b"") -> None:
        content = {"inputs": sum(outcomes.values()), "outcomes": dict(outcomes), "fault": fault, "input": data.hex()}
        report.write_text(json.dumps(content))

    def one(data: bytes) -> None:
        try:
            target.read(data)
            outcomes["accepted"] += 1
        except target.refusals as refusal:
            outcomes[type(refusal).__name__] += 1
        except BaseException as error:
            outcomes["fault"] += 1
            write(repr(error)[:500], data)
            raise
        if (count := sum(outcomes.values())) % _REPORT_EVERY == 0 or count >= runs:
            write()

    for example in target.examples():  # compiles what is compiled once, which counts for no input's time
        with suppress(*target.refusals):
            target.read(example)
    with tempfile.TemporaryDirectory() as corpus:
        for number, example in enumerate(target.examples()):
            (Path(corpus) / f"example-{number}").write_bytes(example)
        limits = [f"-timeout={_TIMEOUT_S}", f"-rss_limit_mb={_RSS_MIB}", "-max_len=65536", "-print_final_stats=1"]
        artifacts = f"-artifact_prefix={report.parent}/{name}-"
        atheris.Setup([sys.argv[0], f"-runs={runs}", f"-seed={seed}", *limits, artifacts, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
