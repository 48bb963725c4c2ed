"""How whoever runs the fleet steers it: which drive to make next, how far it has come, and what was really there.

All through files in one folder, each replaced whole, so that a reader never sees half of one.
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
    """One drive of all vehicles: a boot each."""

    phase: str
    seconds: float
    """Simulated."""
    seed: int = 0
    """The same seed drives the same routes."""
    start_utc_ns: int = 0
    """0: right after the one before."""
    stop: bool = False
    """No drive: send what there is and end."""


def parse_phase(text: str) -> Phase:
    """phase.json. Raises AgentError that names the field."""
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
            f"phase.json: {error!r}; it wants phase, seconds, and may have seed, start_utc_ns, stop"
        ) from error
    if not phase.stop and not 0 < phase.seconds <= 10**9:
        raise AgentError("phase.json: seconds must be above 0 and at most 10^9")
    return phase


class Control:
    """A folder with phase.json (theirs) and progress-<first>.json (ours)."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        folder.mkdir(parents=True, exist_ok=True)

    def next_phase(self, after: str) -> Phase | None:
        """The phase that is wanted, unless it is the one that was driven. Raises AgentError."""
        try:
            text = (self._folder / "phase.json").read_text()
        except FileNotFoundError:
            return None
        phase = parse_phase(text)
        return phase if phase.phase != after else None

    def report(self, progress: Mapping[str, Any]) -> None:
        """Says how far it is."""
        replace_text(self._folder / f"progress-{self._name}.json", json.dumps(progress, sort_keys=True))


class TruthLedger:
    """What was really there, a JSON object a line, for simulated labellers. It never leaves the machine."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def note(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Appends and hands over to the system."""
        if self._file is not None:
            self._file.writelines(json.dumps(line, sort_keys=True) + "\n" for line in lines)
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
