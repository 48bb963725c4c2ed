"""Control of a simulated fleet through files in one folder: the next drive, the progress, and the ground truth.

Each file is replaced atomically, so that a reader never sees a part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.kit.process.logs import get_logger
from vehicle_agent.model import AgentError

log = get_logger(__name__)


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
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AgentError(f"{folder}: cannot be created: {error.strerror}; choose another --control") from error

    def next_phase(self, after: str) -> Phase | None:
        """Return the requested phase, or None if it is the one that was driven last. Raises AgentError."""
        try:
            text = (self._folder / "phase.json").read_text()
        except FileNotFoundError:
            return None
        phase = parse_phase(text)
        return phase if phase.phase != after else None

    def report(self, progress: Mapping[str, Any]) -> None:
        """Write the progress. A full disk leaves the old one."""
        write_or_log(self._folder / f"progress-{self._name}.json", progress)


def write_or_log(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file whose old content does no harm. An error of the disk is logged."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(content, sort_keys=True))
    except OSError as error:
        log.warning("file_not_written", file=str(path), error=str(error))


class GroundTruthLog:
    """The ground truth as one JSON object per line, for simulated labellers. It never leaves the machine."""

    def __init__(self, path: Path | None) -> None:
        self._file: BinaryIO | None = None
        self._torn = False
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append lines. Those that do not fit on the disk are logged as lost; a partial line is ended by the next."""
        text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
        if self._file is None or not text:
            return
        content = (b"\n" if self._torn else b"") + text.encode()
        try:
            self._torn = self._file.write(content) != len(content) or self._torn
        except OSError as error:
            self._torn = True
            log.warning("ground_truth_lost", bytes=len(content), error=str(error))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
