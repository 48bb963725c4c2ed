"""`fleetloop datasets`: versions of datasets, what they differ in, and sets that are labelled already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.channel import channel_to, request_id
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.kit.process.clock import utc_second
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc

SERVICE = "dataset_curator"
_IMPORT_TIMEOUT_S = 1800.0
_TIMEOUT_S = 60.0
app = typer.Typer(help="Datasets, versioned like source code.", no_args_is_help=True)
Dataset = Annotated[str, typer.Argument(help="Dataset.")]


@app.command("import")
def import_(
    dataset: Dataset,
    source: Annotated[str, typer.Argument(help="Folder with a labelled set.")],
    reason: Annotated[str, typer.Option(help="Kept with the version.")] = "imported",
    frozen: Annotated[bool, typer.Option("--frozen", help="A test set: never trained on.")] = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="It is no folder but an address in the fleet's object store.")
    ] = False,
    folder: Folder = FOLDER,
) -> None:
    """Commit an already labelled set as the next version of a dataset."""
    committed = import_labelled(folder, dataset, source if stored else Path(source), reason, frozen)
    refused = ", ".join(f"{count} {why}" for why, count in sorted(committed.refused.items())) or "none"
    print(f"{dataset} {committed.version}: {committed.samples} samples, {committed.added} new; refused: {refused}")


def import_labelled(
    folder: Path, dataset: str, source: Path | str, reason: str, frozen: bool
) -> dataset_pb2.DatasetCommitted:
    """Asks the curator to import a folder, or an address in the object store; the version that came of it."""
    address = source.strip("/") if isinstance(source, str) else str(source.resolve())
    request = dataset_pb2.ImportDatasetRequest(
        request_id=request_id(), dataset=dataset, source_address=address, reason=reason, frozen=frozen
    )
    with channel_to(folder, SERVICE) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        response: dataset_pb2.ImportDatasetResponse = stub.ImportDataset(request, timeout=_IMPORT_TIMEOUT_S)
    return response.committed


@app.command("list")
def list_(
    dataset: Annotated[str, typer.Argument(help="Dataset; all by default.")] = "", folder: Folder = FOLDER
) -> None:
    """Versions, newest first."""
    with channel_to(folder, SERVICE) as channel:
        request = dataset_pb2.ListVersionsRequest(dataset=dataset)
        versions = dataset_pb2_grpc.DatasetServiceStub(channel).ListVersions(request, timeout=_TIMEOUT_S).versions
    table = Table("dataset", "version", "parent", "samples", "added", "by trigger", "committed", "reason")
    for each in versions:
        triggers = ", ".join(f"{row.trigger} v{row.version}: {row.samples}" for row in each.by_trigger if row.trigger)
        when = utc_second(each.committed_at_utc_ns).strftime("%Y-%m-%d %H:%M")
        counts = (str(each.samples), str(each.added))
        table.add_row(each.dataset, each.version, each.parent, *counts, triggers, when, each.reason)
    Console().print(table if versions else "No dataset yet: `fleetloop datasets import` commits a labelled set.")


@app.command()
def diff(
    dataset: Dataset,
    base: Annotated[str, typer.Argument(help="Older version, such as v1.")],
    head: Annotated[str, typer.Argument(help="Newer version.")],
    folder: Folder = FOLDER,
) -> None:
    """What two versions differ in, sample by sample."""
    with channel_to(folder, SERVICE) as channel:
        request = dataset_pb2.DiffVersionsRequest(dataset=dataset, base=base, head=head)
        response = dataset_pb2_grpc.DatasetServiceStub(channel).DiffVersions(request, timeout=_TIMEOUT_S)
    signs = {"added": "+", "removed": "-", "relabelled": "~"}
    for change in response.changes:
        answers = ", ".join(f"{task}={choice}" for task, choice in sorted(change.answers.items()))
        print(f"{signs[change.change]} {change.sample_id}  {change.trigger or 'imported'}  {answers}")
    if response.truncated:
        print(f"... and more than the {len(response.changes)} shown")
