"""Run the detector's backtest as a process of its own and read its output line by line."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fleetloop.backtesting.model import Fired
from fleetloop.domain.replay_progress import ReplayProgress
from fleetloop.errors import UserError
from fleetloop.triggerlang.trigger import Trigger

_MODULE = "trigger_detector.backtest"


def trigger_text(trigger: Trigger) -> str:
    """Return a trigger as the text of a trigger file. JSON is valid YAML."""
    fields: dict[str, Any] = {name: value for name, value in asdict(trigger).items() if value is not None}
    return json.dumps({**fields, "conditions": dict(trigger.conditions)})


def replay(
    request: Mapping[str, Any], triggers: Mapping[str, Sequence[Trigger]], progress: ReplayProgress
) -> Iterator[Fired | None]:
    """Yield every firing as it is found, and None whenever `progress` was updated.

    Args:
        request: What `trigger_detector.backtest` reads on its standard input, without the campaigns.
        triggers: Triggers by campaign.
        progress: Updated while the backtest runs.

    Raises UserError if a trigger or the archive is wrong, or the process ends early.
    """
    campaigns = {campaign: [trigger_text(trigger) for trigger in own] for campaign, own in triggers.items()}
    text = json.dumps({**request, "campaigns": campaigns})
    command = (sys.executable, "-m", _MODULE)
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(text)
            process.stdin.close()
            done = False
            for line in process.stdout:
                ((kind, content),) = json.loads(line).items()
                if kind == "firing":
                    yield _fired(content)
                    continue
                if kind == "problems":
                    raise UserError("\n".join(content), "Nothing was backtested.")
                _update(kind, content, progress)
                done = kind == "done"
                yield None
            if process.wait() or not done:
                errors.seek(0)
                said = errors.read().strip().splitlines()
                raise UserError(
                    f"The backtest ended early: {said[-1] if said else process.returncode}.", "Try again."
                )
        finally:
            if process.poll() is None:
                process.kill()


def _fired(content: Mapping[str, Any]) -> Fired:
    return Fired(
        firing_id=content["firing_id"],
        campaign=content["campaign"],
        trigger=content["trigger"],
        vehicle=content["vehicle"],
        boot=content["boot"],
        onset_utc_ns=content["onset_utc_ns"],
        onset_monotonic_ns=content["onset_monotonic_ns"],
        conditions=tuple(content["conditions"]),
    )


def _update(kind: str, content: Mapping[str, Any], progress: ReplayProgress) -> None:
    if kind == "progress":
        for name, value in content.items():
            setattr(progress, name, value)
        return
    progress.batches, progress.frames = content["batches"], content["frames"]
    progress.unreadable, progress.damaged_files = content["unreadable"], content["damaged_files"]
    progress.driven_s = {(vehicle, day): seconds for vehicle, day, seconds in content["driven"]}
