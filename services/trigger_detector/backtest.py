"""The detector over the archive instead of the log: what triggers would have fired, before anybody deploys them.

It is the live detector's own core, fed with the archive's batches in the log's order and with the times at which the
broker appended them; so what it finds is what the detector would have sent. Archives are larger than memory: one
file is open at a time, and what is kept is the core's bounded state and what each vehicle drove by day.

Run as a process of its own, since only a service may import a service's core: `python -m trigger_detector.backtest`
reads a request as JSON from its input and writes a line of JSON for every firing, for its progress, and at the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

from fleetloop.domain.archive_files import Footer, list_files, read_appended, read_file, read_footer
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.signals import SignalCatalogue, load_catalogue
from fleetloop.domain.validation import BatchError, validate
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns, utc_second
from fleetloop.kit.storage.objects import Objects
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import check_trigger, parse_trigger
from trigger_detector.core import DetectorState, step
from trigger_detector.model import Appended, CampaignRevision, Firing, Limits
from trigger_detector.plan import Plan, make_plan

_ANY_TIME = 2**63
_TOGETHER = 400
"""Batches taken in one pass."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. Times are the vehicles' UTC."""

    objects_url: str
    fleet_id: str
    signals: str
    """Path of the signal catalogue."""
    campaigns: dict[str, list[str]]
    """Campaign -> its triggers, each as the text of its file."""
    vehicles: tuple[str, ...] = ()
    """Globs; none means all."""
    from_utc_ns: int = 0
    until_utc_ns: int = _ANY_TIME
    horizon_s: float = 240.0
    lateness_s: float = 60.0

    def limits(self) -> Limits:
        """The detector's memory, which has to be the live one's."""
        return Limits(self.horizon_s, self.lateness_s)


@dataclass(slots=True)
class Seen:
    """What was looked at so far."""

    files: int = 0
    files_total: int = 0
    batches: int = 0
    frames: int = 0
    firings: int = 0
    unreadable: int = 0
    driven_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """(vehicle, UTC day) -> seconds of telemetry."""


def replay(request: Request, plan: Plan, catalogue: SignalCatalogue, seen: Seen) -> Iterator[Firing | None]:
    """Every firing within the request's times, in the archive's order, and None after every file.

    Telemetry of one horizon before the first instant is evaluated in silence, as at a restart. Raises
    ArchiveFileError.
    """
    objects = Objects(request.objects_url)
    addresses = list_files(objects, request.fleet_id)
    seen.files_total = len(addresses)
    state, partition = DetectorState(), ""
    for address in addresses:
        if address.rpartition("/")[0] != partition:
            state, partition = DetectorState(), address.rpartition("/")[0]
        footer = read_footer(objects, address)
        if _is_wanted(footer, request):
            for batches in _batches(objects, address, footer, request, plan, catalogue, seen):
                state, result = step(state, batches, plan)
                for firing in result.firings:
                    if request.from_utc_ns <= firing.onset_utc_ns < request.until_utc_ns:
                        seen.firings += 1
                        yield firing
        seen.files += 1
        yield None


def _is_wanted(footer: Footer, request: Request) -> bool:
    early_ns = request.from_utc_ns - seconds_to_ns(request.horizon_s)
    return any(
        _matches(vehicle, request.vehicles)
        and totals.last_utc_ns >= early_ns
        and totals.first_utc_ns < request.until_utc_ns
        for vehicle, totals in footer.vehicles.items()
    )


def _batches(
    objects: Objects,
    address: str,
    footer: Footer,
    request: Request,
    plan: Plan,
    catalogue: SignalCatalogue,
    seen: Seen,
) -> Iterator[list[Appended]]:
    """A file's wanted batches with the broker's times, some hundreds at a time."""
    appended_ms = read_appended(objects, address, footer)
    early_ns = request.from_utc_ns - seconds_to_ns(request.horizon_s)
    taken: list[Appended] = []
    for offset, batch in read_file(objects, address, _signals_of(plan)):
        span_ns = batch.end_monotonic_ns() - batch.start_monotonic_ns
        if not _matches(batch.vehicle_id, request.vehicles) or batch.start_utc_ns >= request.until_utc_ns:
            continue
        if batch.start_utc_ns + span_ns < early_ns:
            continue
        try:
            checked = validate(batch, catalogue, _ANY_TIME).batch
        except BatchError:  # the live detector sends it to the dead-letter queue
            seen.unreadable += 1
            continue
        if batch.start_utc_ns + span_ns >= request.from_utc_ns:
            _count(batch, span_ns, seen)
        taken.append(Appended(checked, appended_ms[offset]))
        if len(taken) >= _TOGETHER:
            yield taken
            taken = []
    if taken:
        yield taken


def _count(batch: FrameBatch, span_ns: int, seen: Seen) -> None:
    day = utc_second(batch.start_utc_ns).strftime("%Y-%m-%d")
    key = (batch.vehicle_id, day)
    frames = batch.frames()
    # a batch's last frame lasts until the next batch's first: as long as its others did
    whole_s = ns_to_seconds(span_ns) * frames / max(1, frames - 1)
    seen.driven_s[key] = seen.driven_s.get(key, 0.0) + whole_s
    seen.batches += 1
    seen.frames += frames


def _matches(vehicle: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(vehicle, glob) for glob in globs)


def _signals_of(plan: Plan) -> set[str]:
    """The columns that the live detector would decode."""
    program = plan.program
    fields = {f"{group}.{name}" for group, names in program.groups.items() for name in (*names, "Id")}
    return fields | set(program.signals)


def plan_of(request: Request, catalogue: SignalCatalogue) -> tuple[Plan, list[str]]:
    """All triggers compiled as if they were in force, and what is wrong with those that cannot be."""
    limits, problems = request.limits(), []
    revisions = []
    for campaign, texts in request.campaigns.items():
        triggers = []
        for text in texts:
            try:
                trigger = parse_trigger(text)
                check_trigger(trigger, catalogue, limits.memory_s())
            except TriggerFileError as error:
                problems.append(f"{campaign}: {error}")
                continue
            triggers.append(trigger)
        revisions.append((CampaignRevision(campaign, 1, True, tuple(triggers)), 0))
    plan, refused = make_plan(revisions, catalogue, limits)
    return plan, problems + [f"{problem.trigger}: {problem.message}" for problem in refused]


def firing_line(firing: Firing) -> dict[str, Any]:
    """A firing as a line of the output."""
    trigger = firing.trigger
    return {
        "firing_id": firing.firing_id,
        "campaign": firing.campaign,
        "trigger": trigger.name,
        "version": trigger.version,
        "vehicle": firing.vehicle_id,
        "boot": firing.boot_id.hex(),
        "onset_utc_ns": firing.onset_utc_ns,
        "onset_monotonic_ns": firing.onset_monotonic_ns,
        "conditions": list(firing.conditions),
        "evidence": dict(firing.evidence),
        "place": list(firing.place) if firing.place else None,
        "model": firing.model_digest,
    }


def run(request: Request, out: TextIO) -> int:
    """Writes the lines; the exit code: 2 when a trigger is wrong."""

    def write(kind: str, content: Any) -> None:
        out.write(json.dumps({kind: content}, separators=(",", ":")) + "\n")

    catalogue = load_catalogue(Path(request.signals))
    plan, problems = plan_of(request, catalogue)
    if problems:
        write("problems", problems)
        return 2
    seen = Seen()
    for firing in replay(request, plan, catalogue, seen):
        if firing is not None:
            write("firing", firing_line(firing))
        else:
            counted = {name: value for name, value in asdict(seen).items() if name != "driven_s"}
            write("progress", counted)
            out.flush()
    driven = [[vehicle, day, round(seconds, 3)] for (vehicle, day), seconds in sorted(seen.driven_s.items())]
    write("done", {"batches": seen.batches, "frames": seen.frames, "unreadable": seen.unreadable, "driven": driven})
    return 0


def main() -> int:
    """The process."""
    raw = json.load(sys.stdin)
    return run(Request(**{**raw, "vehicles": tuple(raw.get("vehicles", ()))}), sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
