"""`fleetloop triggers backtest`: show what triggers would have found before they are deployed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fleetloop.api.campaigns import read_triggers
from fleetloop.api.channel import TIMEOUT_S, channel_to
from fleetloop.api.installation import RunningFleet
from fleetloop.backtesting.clips import clip_cost, stored_clips
from fleetloop.backtesting.model import Result
from fleetloop.backtesting.page import page
from fleetloop.backtesting.screen import result_json, result_lines, result_table
from fleetloop.backtesting.subprocess_runner import replay
from fleetloop.backtesting.totals import CANDIDATE, FiringTotals
from fleetloop.commands.options import FOLDER, AsJson, Folder
from fleetloop.domain.replay_progress import ReplayProgress
from fleetloop.domain.tasks import load_task_schema
from fleetloop.errors import UserError
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.objects import Objects
from fleetloop.layout import RunLayout
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.shipped import config_folder
from fleetloop.triggerlang.definition import from_definition
from fleetloop.triggerlang.trigger import Trigger

OnProgress = Callable[[ReplayProgress], None]
Archive = Annotated[
    str,
    typer.Option("--archive", help="Object store with the archive, a folder or an address; by default the run's."),
]
Active = Annotated[
    list[Path] | None,
    typer.Option("--active", help="Compare with these files; by default with the active or the shipped triggers."),
]
CameraHz = Annotated[float, typer.Option(help="Pictures per second to assume if no clip is stored.")]
Horizon = Annotated[float, typer.Option(help="FLEETLOOP_DETECTOR_HORIZON_S of the detector.")]
Lateness = Annotated[float, typer.Option(help="FLEETLOOP_DETECTOR_LATENESS_S of the detector.")]
Files = Annotated[list[Path], typer.Argument(help="Trigger files or folders.")]


def backtest(
    files: Files,
    archive: Archive = "",
    begin: Annotated[str, typer.Option("--from", help="First instant, for example 2026-11-21T08:00:00Z.")] = "",
    end: Annotated[str, typer.Option("--to", help="Instant after the last one.")] = "",
    vehicles: Annotated[list[str] | None, typer.Option("--vehicles", help="Globs over vehicle ids.")] = None,
    active: Active = None,
    fleet: Annotated[str, typer.Option("--fleet", help="Fleet; by default the only one in the store.")] = "",
    page_file: Annotated[Path | None, typer.Option("--html", help="Also write a page with pictures.")] = None,
    camera_hz: CameraHz = 2.0,
    horizon_s: Horizon = 240.0,
    lateness_s: Lateness = 60.0,
    as_json: AsJson = False,
    folder: Folder = FOLDER,
) -> None:
    """Show which firings triggers would have made on the archive, their cost, and how many are new. Changes
    nothing.
    """
    candidates = {trigger.name: trigger for trigger in map(from_definition, read_triggers(files))}
    running, active_text = active_triggers(folder, active)
    objects, fleet_id = _store(archive, fleet, folder)
    request = {
        "objects_url": objects.url,
        "fleet_id": fleet_id,
        "signals": str(config_folder() / "signals.yaml"),
        "vehicles": vehicles or [],
        "from_utc_ns": _instant(begin, "--from", 0),
        "until_utc_ns": _instant(end, "--to", 2**63),
        "horizon_s": horizon_s,
        "lateness_s": lateness_s,
    }
    clips = stored_clips(objects, fleet_id)
    cost = clip_cost(clips, load_task_schema(config_folder() / "tasks.yaml"), camera_hz)
    totals, progress = FiringTotals(clips), ReplayProgress()
    campaigns: dict[str, list[Trigger]] = {CANDIDATE: list(candidates.values())}
    for (campaign, _), trigger in running.items():
        campaigns.setdefault(campaign, []).append(trigger)
    with _progress() as on_progress:
        for fired in replay(request, campaigns, progress):
            if fired is None:
                on_progress(progress)
            else:
                totals.add(fired)
    if not progress.batches and progress.damaged_files:
        raise UserError(
            f"{progress.damaged_files} files of the archive in {objects.url} are damaged, and the others have no "
            "telemetry of these vehicles and times.",
            "Restore the files, or widen --vehicles, --from and --to.",
        )
    if not progress.batches:
        raise UserError(
            f"The archive in {objects.url} has no telemetry of these vehicles and times.",
            "Widen --vehicles, --from and --to.",
        )
    triggers = [totals.result(trigger, running, progress.driven_s, cost) for trigger in candidates.values()]
    result = Result(
        objects.url,
        fleet_id,
        progress.batches,
        progress.frames,
        progress.unreadable,
        cost,
        active_text,
        triggers,
        progress.damaged_files,
    )
    if page_file is not None:
        page_file.write_text(page(result, objects))
    if as_json:
        print(json.dumps(result_json(result), indent=1))
        return
    Console().print(result_table(result))
    for line in result_lines(result):
        print(line)
    if page_file is not None:
        print(f"\npictures: {page_file}")


def active_triggers(folder: Path, named: list[Path] | None) -> tuple[Mapping[tuple[str, str], Trigger], str]:
    """Return the active triggers by (campaign, name), and their origin as text.

    They come from the named files, otherwise from the running campaigns, otherwise from the shipped configuration.
    """
    if named:
        return _of_files(named), ", ".join(map(str, named))
    try:
        RunningFleet.open(folder)
    except UserError:
        return _of_files(None), "the shipped ones, because no fleet is running"
    with channel_to(folder, "campaign_keeper") as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        campaigns = stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(), timeout=TIMEOUT_S).campaigns
    running = {
        (campaign.campaign, definition.name): from_definition(definition)
        for campaign in campaigns
        if campaign.state == campaign_pb2.CAMPAIGN_STATE_RUNNING
        for definition in campaign.triggers
    }
    return running, f"{len(running)} running now"


def _of_files(files: list[Path] | None) -> Mapping[tuple[str, str], Trigger]:
    return {("shipped", t.name): t for t in map(from_definition, read_triggers(files))}


def _store(archive: str, fleet: str, folder: Path) -> tuple[Objects, str]:
    """Return the object store and the fleet in it. Raises UserError if there is no archive, or a choice of fleets."""
    if "://" in archive:
        objects = Objects(archive)
    else:
        path = Path(archive).expanduser().resolve() if archive else RunLayout.at(folder).objects
        if not path.is_dir():
            raise UserError(f"There is no archive in {path}.", "Name the object store's folder with --archive.")
        objects = Objects(path.as_uri())
    root = objects.path_of("")
    found = sorted(each.parent.name for each in root.glob("*/telemetry") if each.is_dir()) if root else []
    fleets = [fleet] if fleet else found
    if len(fleets) != 1:
        raise UserError(
            f"The store {objects.url} has the fleets {', '.join(found) or 'none'}.", "Name one with --fleet."
        )
    return objects, fleets[0]


def _instant(text: str, option: str, default: int) -> int:
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{option}: {text!r} is not a time.", "Write it as 2026-11-21T08:00:00Z.") from error
    return seconds_to_ns(int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Show a progress bar if stderr is a terminal, otherwise a line per tenth of the files."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=console) as bar:
            task = bar.add_task("", total=None)
            yield lambda progress: bar.update(
                task, total=progress.files_total, completed=progress.files, description=_so_far(progress)
            )
        return
    told = 0

    def line(progress: ReplayProgress) -> None:
        nonlocal told
        tenth = 10 * progress.files // max(1, progress.files_total)
        if tenth > told:
            told = tenth
            sys.stderr.write(f"{progress.files} of {progress.files_total} files, {_so_far(progress)}\n")

    yield line


def _so_far(progress: ReplayProgress) -> str:
    return f"{progress.frames:,} frames, {progress.firings:,} firings"
