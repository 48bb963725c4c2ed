"""Evaluates triggers on the archive instead of the log, to find out what they would have fired before deploying them.

It uses the live detector's core, with the archive's batches in the log's order and the times at which the broker
appended them; so it finds what the detector would have sent. Archives are larger than memory: one file is open at a
time, and only the core's bounded state and the driven seconds per vehicle and day are kept.

It is a process of its own, since only a service may import a service's core. `python -m trigger_detector.backtest`
reads a request as JSON from standard input, and writes one line of JSON per firing, per file (progress), and at the
end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

from fleetloop.domain.archive_files import ArchiveFileError, Footer, list_files, read_appended, read_file, read_footer
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.replay_progress import ReplayProgress
from fleetloop.domain.signals import SignalCatalogue, load_catalogue
from fleetloop.domain.validation import BatchError, validate
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns, utc_second
from fleetloop.kit.storage.objects import Objects
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import check_trigger, parse_trigger
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended, CampaignRevision, Firing, Limits
from trigger_detector.plan import Plan, make_plan

_ANY_TIME = 2**63
"""Later than every time in nanoseconds."""
_BATCHES_PER_PASS = 400
"""Batches that are evaluated together."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate. Times are the vehicles' UTC in nanoseconds."""

    objects_url: str
    fleet_id: str
    signals: str
    """Path of the signal catalogue."""
    campaigns: dict[str, list[str]]
    """Campaign -> its triggers, each as the text of its file."""
    vehicles: tuple[str, ...] = ()
    """Globs over vehicle ids; none means all."""
    from_utc_ns: int = 0
    until_utc_ns: int = _ANY_TIME
    horizon_s: float = 240.0
    lateness_s: float = 60.0

    def limits(self) -> Limits:
        """The detector's limits, which must be those of the live detector."""
        return Limits(self.horizon_s, self.lateness_s)


def replay(
    request: Request, plan: Plan, catalogue: SignalCatalogue, progress: ReplayProgress
) -> Iterator[Firing | None]:
    """Yields every firing within the request's times, in the archive's order, and None after every file.

    Telemetry of one horizon before the first instant is evaluated without firing, as after a restart. Damaged
    files are counted, and the others replayed.
    """
    objects = Objects(request.objects_url)
    addresses = list_files(objects, request.fleet_id)
    progress.files_total = len(addresses)
    state, partition = DetectorState(), ""
    for address in addresses:
        if address.rpartition("/")[0] != partition:
            state, partition = DetectorState(), address.rpartition("/")[0]
        try:
            footer = read_footer(objects, address)
            if _is_selected(footer, request):
                for batches in _batches(objects, address, footer, request, plan, catalogue, progress):
                    result = evaluate_batches_in_place(state, batches, plan)
                    for firing in result.firings:
                        if request.from_utc_ns <= firing.onset_utc_ns < request.until_utc_ns:
                            progress.firings += 1
                            yield firing
        except ArchiveFileError:
            progress.damaged_files += 1
        progress.files += 1
        yield None


def _is_selected(footer: Footer, request: Request) -> bool:
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
    progress: ReplayProgress,
) -> Iterator[list[Appended]]:
    """Yields a file's selected batches with the broker's times, up to ``_BATCHES_PER_PASS`` at a time."""
    appended_ms = read_appended(objects, address, footer)
    early_ns = request.from_utc_ns - seconds_to_ns(request.horizon_s)
    selected: list[Appended] = []
    for offset, batch in read_file(objects, address, _signals_of(plan)):
        span_ns = batch.end_monotonic_ns() - batch.start_monotonic_ns
        if not _matches(batch.vehicle_id, request.vehicles) or batch.start_utc_ns >= request.until_utc_ns:
            continue
        if batch.start_utc_ns + span_ns < early_ns:
            continue
        try:
            checked = validate(batch, catalogue, _ANY_TIME).batch
        except BatchError:  # the live detector sends it to the dead-letter queue
            progress.unreadable += 1
            continue
        if batch.start_utc_ns + span_ns >= request.from_utc_ns:
            _count(batch, span_ns, progress)
        selected.append(Appended(checked, appended_ms[offset]))
        if len(selected) >= _BATCHES_PER_PASS:
            yield selected
            selected = []
    if selected:
        yield selected


def _count(batch: FrameBatch, span_ns: int, progress: ReplayProgress) -> None:
    day = utc_second(batch.start_utc_ns).strftime("%Y-%m-%d")
    key = (batch.vehicle_id, day)
    frames = batch.frames()
    # A batch's last frame lasts until the next batch's first; assume that it lasts as long as the others.
    whole_s = ns_to_seconds(span_ns) * frames / max(1, frames - 1)
    progress.driven_s[key] = progress.driven_s.get(key, 0.0) + whole_s
    progress.batches += 1
    progress.frames += frames


def _matches(vehicle: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(vehicle, glob) for glob in globs)


def _signals_of(plan: Plan) -> set[str]:
    """The columns that the live detector would decode."""
    program = plan.program
    fields = {f"{group}.{name}" for group, names in program.groups.items() for name in (*names, "Id")}
    return fields | set(program.signals)


def plan_of(request: Request, catalogue: SignalCatalogue) -> tuple[Plan, list[str]]:
    """Compiles all triggers as if they were in force; also returns a message per trigger that cannot be compiled."""
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
    """The output line of a firing."""
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
        "place": list(firing.location) if firing.location else None,
        "model": firing.model_digest,
    }


def run(request: Request, out: TextIO) -> int:
    """Writes the output lines. Returns the exit code: 0, or 2 if a trigger cannot be compiled."""

    def write(kind: str, content: Any) -> None:
        out.write(json.dumps({kind: content}, separators=(",", ":")) + "\n")

    catalogue = load_catalogue(Path(request.signals))
    plan, problems = plan_of(request, catalogue)
    if problems:
        write("problems", problems)
        return 2
    progress = ReplayProgress()
    for firing in replay(request, plan, catalogue, progress):
        if firing is not None:
            write("firing", firing_line(firing))
        else:
            counted = {name: value for name, value in asdict(progress).items() if name != "driven_s"}
            write("progress", counted)
            out.flush()
    driven = [[vehicle, day, round(seconds, 3)] for (vehicle, day), seconds in sorted(progress.driven_s.items())]
    write(
        "done",
        {
            "batches": progress.batches,
            "frames": progress.frames,
            "unreadable": progress.unreadable,
            "damaged_files": progress.damaged_files,
            "driven": driven,
        },
    )
    return 0


def main() -> int:
    """Runs the request on standard input."""
    raw = json.load(sys.stdin)
    return run(Request(**{**raw, "vehicles": tuple(raw.get("vehicles", ()))}), sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
