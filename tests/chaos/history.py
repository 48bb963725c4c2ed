"""The record of one run: everything that went in, what was acknowledged, and what the nemeses did.

The file has one JSON object per line and is only appended to. Reading it gives the `History` that the run had, so
that an oracle can be run again over an old history, and a person can read what happened when.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

SUMMED = ("autopilot_km", "interventions", "map_disagreements", "flickers", "inferences")
"""Fields of a report whose sums the monitor must have to the last digit."""


class HistoryError(Exception):
    """A line of a history cannot be read. The message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A message that is meant to be refused, and where."""

    mark: str
    """Identifies the message: the SHA-256 of its key and value."""
    kind: str
    """Name of the input, as in `tests.chaos.poison`."""
    topic: str
    """Topic that it was written to; empty when it was sent through the gateway."""
    refused_by: frozenset[str]
    """Services that must send it to the dead-letter queue; none when it must be refused at the door."""


@dataclass(frozen=True, slots=True)
class NemesisRun:
    """One time that a nemesis was at work. Times are seconds of the run."""

    name: str
    seed: int
    started_s: float
    stopped_s: float
    recovered_s: float | None
    """When everything worked again; None when it did not within the limit."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Drive:
    """How fast a vehicle was in one batch: the harness makes the drive, so it knows what has to fire."""

    vehicle: str
    boot: str
    start_ns: int
    step_ns: int
    """Nanoseconds from one frame to the next."""
    fast: str
    """One character per frame: "1" where the vehicle is fast, else "0"."""


@dataclass(slots=True)
class History:
    """What the senders know. Ids are event ids, so that they can be compared with what the stages hold."""

    sent: dict[str, str] = field(default_factory=dict)
    """Id of every batch that was sent at least once -> its vehicle."""
    contents: dict[str, str] = field(default_factory=dict)
    """Id of the same batch -> the digest of its content."""
    drives: dict[str, Drive] = field(default_factory=dict)
    """Id of the same batch -> what the vehicle did in it."""
    acknowledged_s: dict[str, float] = field(default_factory=dict)
    """Id of each batch whose sender knows when it was told so -> when, seconds of the harness's monotonic clock."""
    acknowledged: set[str] = field(default_factory=set)
    """Ids of batches of which a sender was told that they are stored."""
    refused: dict[str, str] = field(default_factory=dict)
    """Ids of batches that the gateway refused -> why. An honest sender's batch must never be here."""
    reports_sent: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    reports_acknowledged: set[str] = field(default_factory=set)
    clips: dict[str, str] = field(default_factory=dict)
    """Firing -> clip that was acknowledged as stored for it."""
    hostile: dict[str, str] = field(default_factory=dict)
    """Firing whose clip has a content that nothing may be made of -> name of the input."""
    took_s: list[float] = field(default_factory=list)
    """For each batch that was acknowledged over gRPC, the seconds from sending it, in the order of the answers."""
    planted: list[Planted] = field(default_factory=list)
    door: dict[str, str] = field(default_factory=dict)
    """Mark of a planted message that was sent through the gateway -> the answer's error code, empty for none."""
    nemeses: list[NemesisRun] = field(default_factory=list)

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Add one entry. Raises KeyError or ValueError for an entry that is not one of ours."""
        kind = entry["kind"]
        if kind == "sent":
            self.sent[entry["id"]] = entry["vehicle"]
            self.contents[entry["id"]] = entry["content"]
            if "drive" in entry:
                self.drives[entry["id"]] = Drive(entry["vehicle"], **entry["drive"])
        elif kind == "acknowledged":
            self.acknowledged.add(entry["id"])
            if "at_s" in entry:
                self.acknowledged_s[entry["id"]] = entry["at_s"]
            if "took_s" in entry:
                self.took_s.append(entry["took_s"])
        elif kind == "refused":
            self.refused[entry["id"]] = entry["why"]
        elif kind == "report_sent":
            self.reports_sent[entry["id"]] = entry["amounts"]
        elif kind == "report_acknowledged":
            self.reports_acknowledged.add(entry["id"])
        elif kind == "clip":
            self.clips[entry["firing"]] = entry["clip"]
        elif kind == "hostile":
            self.hostile[entry["firing"]] = entry["input"]
        elif kind == "planted":
            self.planted.append(
                Planted(entry["mark"], entry["input"], entry["topic"], frozenset(entry["refused_by"]))
            )
        elif kind == "door":
            self.door[entry["mark"]] = entry["code"]
        elif kind == "nemesis":
            fields = {name: entry[name] for name in NemesisRun.__dataclass_fields__}
            self.nemeses.append(NemesisRun(**fields))
        elif kind != "note":
            raise ValueError(f"unknown kind {kind!r}")

    def sums(self) -> dict[str, Fraction]:
        """Exact sums over the acknowledged reports, and their number as `reports`."""
        totals = {name: Fraction(0) for name in SUMMED}
        for report_id in self.reports_acknowledged:
            for name in SUMMED:
                totals[name] += Fraction(self.reports_sent[report_id][name])
        return {**totals, "reports": Fraction(len(self.reports_acknowledged))}


class Recorder:
    """Appends entries to a history and to its file. What is in memory is in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = History()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("x", encoding="utf-8")

    def add(self, kind: str, **fields: Any) -> None:
        """Write one entry and apply it."""
        entry = {"kind": kind, **fields}
        self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._file.flush()
        self.history.apply(entry)

    def close(self) -> None:
        self._file.close()


def read_history(path: Path) -> History:
    """Read a history back. Raises HistoryError that names the line that cannot be read."""
    history = History()
    for number, line in _lines(path):
        try:
            history.apply(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise HistoryError(f"{path}:{number} is no entry of a history: {error!r}") from error
    return history


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8") as file:
        yield from enumerate(file, 1)
