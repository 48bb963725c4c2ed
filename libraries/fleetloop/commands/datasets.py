"""`fleetloop datasets`: list and compare versions of datasets, and import labelled sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.channel import channel_to
from fleetloop.api.datasets import SERVICE, import_labelled
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.kit.process.clock import utc_second
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc

_TIMEOUT_S = 60.0
app = typer.Typer(help="Datasets, versioned like source code.", no_args_is_help=True)
Dataset = Annotated[str, typer.Argument(help="Dataset.")]


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
        counts = (str(each.samples), str(each.added))
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
