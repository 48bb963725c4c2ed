"""Control of a simulated fleet through files in one folder: the next drive, the progress, and the ground truth.

Each file is replaced atomically, so that a reader never sees a part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from fleetloop.kit.process.atomic_file import replace_text
from vehicle_agent.model import AgentError


@dataclass(frozen=True, slots=True)
class Phase:
    """One drive of all vehicles, which is one boot of each."""

    phase: str
    """Name of the phase."""
    seconds: float
    """Simulated seconds."""
    seed: int = 0
    """Selects the routes."""
    start_utc_ns: int = 0
    """Simulated UTC at the start; 0 continues after the phase before."""
    stop: bool = False
    """True to end the process instead, once everything is sent."""


def parse_phase(text: str) -> Phase:
    """Parse phase.json. Raises AgentError that names the field."""
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError("not an object")
        unknown = set(raw) - set(Phase.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]}")
        phase = Phase(
            str(raw["phase"]),
            float(raw.get("seconds", 0.0)),
            int(raw.get("seed", 0)),
            int(raw.get("start_utc_ns", 0)),
            bool(raw.get("stop", False)),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise AgentError(
            f"phase.json: {error!r}; required are phase and seconds, optional are seed, start_utc_ns and stop"
        ) from error
    if not phase.stop and not 0 < phase.seconds <= 10**9:
        raise AgentError("phase.json: seconds must be above 0 and at most 10^9")
    return phase


class Control:
    """A folder with phase.json, which the operator writes, and progress-<first>.json, which this process writes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        folder.mkdir(parents=True, exist_ok=True)

    def next_phase(self, after: str) -> Phase | None:
        """Return the requested phase, or None if it is the one that was driven last. Raises AgentError."""
        try:
            text = (self._folder / "phase.json").read_text()
        except FileNotFoundError:
            return None
        phase = parse_phase(text)
        return phase if phase.phase != after else None

    def report(self, progress: Mapping[str, Any]) -> None:
        """Write the progress."""
        replace_text(self._folder / f"progress-{self._name}.json", json.dumps(progress, sort_keys=True))


class GroundTruthLog:
    """The ground truth as one JSON object per line, for simulated labellers. It never leaves the machine."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append lines and flush them to the operating system."""
        if self._file is not None:
            self._file.writelines(json.dumps(line, sort_keys=True) + "\n" for line in lines)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
