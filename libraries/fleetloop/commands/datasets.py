"""`fleetloop datasets`: list and compare versions of datasets, import labelled sets, and retract rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.channel import channel_to
from fleetloop.api.datasets import (
    SERVICE,
    curation,
    import_labelled,
    readmit_rows,
    retract_rows,
    runs_that_used,
)
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.errors import UserError
from fleetloop.kit.process.clock import utc_second
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2

_TIMEOUT_S = 60.0
app = typer.Typer(help="Datasets, versioned like source code.", no_args_is_help=True)
Dataset = Annotated[str, typer.Argument(help="Dataset.")]
Vehicle = Annotated[str, typer.Option(help="Vehicle whose rows are meant.")]
Clip = Annotated[str, typer.Option(help="Clip whose rows are meant: the SHA-256 of its bytes.")]
Trigger = Annotated[str, typer.Option(help="Trigger whose rows are meant, as NAME, or NAME@VERSION for one version.")]
Source = Annotated[
    str, typer.Option(help="Label source whose rows are meant: human, hindsight, sensor, model or imported.")
]


@app.command("import")
def import_(
    dataset: Dataset,
    source: Annotated[str, typer.Argument(help="Folder with a labelled set, or an address with --stored.")],
    reason: Annotated[str, typer.Option(help="Reason, stored with the version.")] = "imported",
    frozen: Annotated[bool, typer.Option("--frozen", help="Import a test set, which is never trained on.")] = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="The source is an address in the fleet's object store.")
    ] = False,
    folder: Folder = FOLDER,
) -> None:
    """Commit a labelled set as the next version of a dataset."""
    committed = import_labelled(folder, dataset, source if stored else Path(source), reason, frozen)
    refused = ", ".join(f"{count} {why}" for why, count in sorted(committed.refused.items())) or "none"
    print(f"{dataset} {committed.version}: {committed.samples} samples, {committed.added} new; refused: {refused}")


@app.command("list")
def list_(
    dataset: Annotated[str, typer.Argument(help="Dataset; all by default.")] = "", folder: Folder = FOLDER
) -> None:
    """List versions, newest first."""
    with channel_to(folder, SERVICE) as channel:
        request = dataset_pb2.ListVersionsRequest(dataset=dataset)
        versions = dataset_pb2_grpc.DatasetServiceStub(channel).ListVersions(request, timeout=_TIMEOUT_S).versions
    table = Table("dataset", "version", "parent", "samples", "added", "by trigger", "committed", "reason")
    for each in versions:
        triggers = ", ".join(f"{row.trigger} v{row.version}: {row.samples}" for row in each.by_trigger if row.trigger)
        when = utc_second(each.committed_at_utc_ns).strftime("%Y-%m-%d %H:%M")
        counts = (str(each.samples), f"-{each.changed}" if each.changed else str(each.added))
        table.add_row(each.dataset, each.version, each.parent, *counts, triggers, when, each.reason)
    Console().print(table if versions else "There is no dataset yet. Import one with `fleetloop datasets import`.")


@app.command()
def diff(
    dataset: Dataset,
    base: Annotated[str, typer.Argument(help="Older version, such as v1.")],
    head: Annotated[str, typer.Argument(help="Newer version.")],
    folder: Folder = FOLDER,
) -> None:
    """Show the difference between two versions, sample by sample."""
    with channel_to(folder, SERVICE) as channel:
        request = dataset_pb2.DiffVersionsRequest(dataset=dataset, base=base, head=head)
        response = dataset_pb2_grpc.DatasetServiceStub(channel).DiffVersions(request, timeout=_TIMEOUT_S)
    signs = {"added": "+", "removed": "-", "relabelled": "~"}
    for change in response.changes:
        answers = ", ".join(f"{task}={choice}" for task, choice in sorted(change.answers.items()))
        print(f"{signs[change.change]} {change.sample_id}  {change.trigger or 'imported'}  {answers}")
    if response.truncated:
        print(f"... only the first {len(response.changes)} are shown")


@app.command()
def retract(
    dataset: Dataset,
    reason: Annotated[str, typer.Option(help="Reason, stored with the version.")],
    vehicle: Vehicle = "",
    clip: Clip = "",
    trigger: Trigger = "",
    source: Source = "",
    folder: Folder = FOLDER,
) -> None:
    """Commit a version without some rows, refuse their origin from now on, and name the runs that used them."""
    rows = _selector(vehicle, clip, trigger, source)
    response = retract_rows(folder, dataset, rows, reason)
    if response.discarded_waiting:
        print(f"{response.discarded_waiting} samples that waited for a commit were discarded")
    if response.HasField("committed"):
        committed = response.committed
        slices = ", ".join(f"{name}: {n}" for name, n in sorted(committed.retraction.removed_by_slice.items()))
        print(f"{dataset} {committed.version}: {committed.samples} samples, {committed.changed} removed ({slices})")
        print(used_by(folder, dataset, committed.retraction.first_version, committed.version))
    print(f"New samples of {_origin(rows)} are refused; `fleetloop datasets readmit` ends that.")


@app.command()
def readmit(
    dataset: Dataset,
    vehicle: Vehicle = "",
    clip: Clip = "",
    trigger: Trigger = "",
    source: Source = "",
    folder: Folder = FOLDER,
) -> None:
    """Admit samples of a retracted origin again that are detected from now on."""
    rule = readmit_rows(folder, dataset, _selector(vehicle, clip, trigger, source))
    when = utc_second(rule.readmitted_at_utc_ns).strftime("%Y-%m-%d %H:%M:%S")
    print(f"{dataset} admits samples of {_origin(rule.rows)} that are detected after {when} UTC")


@app.command()
def status(
    dataset: Annotated[str, typer.Argument(help="Dataset; all by default.")] = "", folder: Folder = FOLDER
) -> None:
    """Show what waits for a commit, what is held or retracted, and the runs that used retracted rows."""
    found = curation(folder, dataset)
    for each in found:
        print(f"{each.dataset}: {each.waiting} labelled samples wait for a commit")
        for held in each.held:
            has = f"it has {held.samples} of {each.vehicle_samples} samples from vehicles"
            print(f"  {held.held} more of vehicle {held.vehicle_id} wait until others have caught up:")
            print(f"  {has}, and may have {each.most_of_a_vehicle}")
        for rule in each.retractions:
            when = utc_second(rule.retracted_at_utc_ns).strftime("%Y-%m-%d %H:%M")
            state = "readmitted since" if rule.readmitted_at_utc_ns else "refused"
            version = rule.version or "no version had any"
            print(f"  {_origin(rule.rows)}: {state}")
            print(f"  retracted {when} by {rule.retracted_by} ({version}): {rule.reason}")
            if rule.version:
                print("  " + used_by(folder, each.dataset, rule.first_version, rule.version).replace("\n", "\n  "))
    if not found:
        print("There is no such dataset." if dataset else "There is no dataset yet.")


def used_by(folder: Path, dataset: str, first_version: str, removed_in: str) -> str:
    """The runs and models that used retracted rows, as text; says so when they cannot be found out."""
    try:
        runs = runs_that_used(folder, dataset, first_version, removed_in)
    except UserError as error:
        return f"Which runs used them is not known: {error} Then run `fleetloop datasets status {dataset}`."
    if not runs:
        return "No training run used them."
    lines = [f"{len(runs)} training run{'s' if len(runs) > 1 else ''} used them:"]
    for run in runs:
        state = training_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
        model = f"model {run.model_digest[:12]}" if run.model_digest else "no model"
        parent = f", begun from model {run.parent_model_digest[:12]}" if run.parent_model_digest else ""
        lines.append(f"  {run.run_id}  {run.dataset} {run.dataset_version}{parent}: {state}, {model}")
    lines.append(
        "Roll back what drives with `fleetloop rollouts rollback`; a run begun from such a model inherits its errors."
    )
    return "\n".join(lines)


def _selector(vehicle: str, clip: str, trigger: str, source: str) -> dataset_pb2.RowSelector:
    if sum(map(bool, (vehicle, clip, trigger, source))) != 1:
        raise UserError("Name one origin.", "Give exactly one of --vehicle, --clip, --trigger and --source.")
    name, _, version = trigger.partition("@")
    if version and not version.removeprefix("v").isdecimal():
        raise UserError(f"{version!r} is no version of a trigger.", "Give --trigger NAME@VERSION, such as flicker@2.")
    return dataset_pb2.RowSelector(
        vehicle_id=vehicle,
        clip_id=clip,
        trigger=name,
        trigger_version=int(version.removeprefix("v") or 0),
        label_source=source,
    )


def _origin(rows: dataset_pb2.RowSelector) -> str:
    if rows.trigger:
        return f"trigger {rows.trigger}" + (f" v{rows.trigger_version}" if rows.trigger_version else "")
    if rows.vehicle_id:
        return f"vehicle {rows.vehicle_id}"
    return f"clip {rows.clip_id}" if rows.clip_id else f"source {rows.label_source}"
