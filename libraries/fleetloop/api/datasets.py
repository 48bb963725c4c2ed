"""Datasets: import a set that is labelled already, retract rows, and find the runs that used them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fleetloop.api.channel import TIMEOUT_S, channel_to, request_id
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc

SERVICE = "dataset_curator"
# An import reads, embeds and compares every sample before it answers.
_IMPORT_TIMEOUT_S = 1800.0
# A retraction reads versions back to the oldest that has the rows.
_RETRACT_TIMEOUT_S = 600.0


def import_labelled(
    folder: Path, dataset: str, source: Path | str, reason: str, frozen: bool
) -> dataset_pb2.DatasetCommitted:
    """Commit a labelled set as the next version of a dataset.

    Args:
        folder: The run's folder, or that of an installation on a cluster.
        dataset: Name of the dataset; created if there is none.
        source: A folder on this machine, or, as `str`, an address in the fleet's object store.
        reason: Kept with the version.
        frozen: True for a test set, which is never trained on.

    Raises UserError if the curator refuses the set or does not answer.
    """
    address = source.strip("/") if isinstance(source, str) else str(source.resolve())
    request = dataset_pb2.ImportDatasetRequest(
        request_id=request_id(), dataset=dataset, source_address=address, reason=reason, frozen=frozen
    )
    with channel_to(folder, SERVICE) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        response: dataset_pb2.ImportDatasetResponse = stub.ImportDataset(request, timeout=_IMPORT_TIMEOUT_S)
    return response.committed


def retract_rows(
    folder: Path, dataset: str, rows: dataset_pb2.RowSelector, reason: str
) -> dataset_pb2.RetractRowsResponse:
    """Commit a version of a dataset without some rows, and refuse samples of the same origin from now on.

    Args:
        folder: The run's folder, or that of an installation on a cluster.
        dataset: Name of the dataset.
        rows: The rows' origin: a vehicle, a clip, a trigger or a label source.
        reason: Kept with the version.

    Raises UserError if no row is of this origin, for a frozen test set, or if the curator does not answer.
    """
    request = dataset_pb2.RetractRowsRequest(request_id=request_id(), dataset=dataset, rows=rows, reason=reason)
    with channel_to(folder, SERVICE) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        response: dataset_pb2.RetractRowsResponse = stub.RetractRows(request, timeout=_RETRACT_TIMEOUT_S)
    return response


def readmit_rows(folder: Path, dataset: str, rows: dataset_pb2.RowSelector) -> dataset_pb2.RetractionRule:
    """Admit samples of a retracted origin again that are detected from now on. What was removed stays out.

    Raises UserError if this origin is not retracted, or if the curator does not answer.
    """
    request = dataset_pb2.ReadmitRowsRequest(request_id=request_id(), dataset=dataset, rows=rows)
    with channel_to(folder, SERVICE) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        response: dataset_pb2.ReadmitRowsResponse = stub.ReadmitRows(request, timeout=TIMEOUT_S)
    return response.rule


def curation(folder: Path, dataset: str = "") -> list[dataset_pb2.DatasetCuration]:
    """What waits for a commit and what is refused, of one dataset or of each.

    Raises UserError if the curator does not answer.
    """
    with channel_to(folder, SERVICE) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        return list(stub.GetCuration(dataset_pb2.GetCurationRequest(dataset=dataset), timeout=TIMEOUT_S).datasets)


def runs_that_used(folder: Path, dataset: str, first_version: str, removed_in: str) -> list[training_pb2.RunChanged]:
    """The training runs that used the rows of a retraction, the oldest first.

    They are those on versions from `first_version` to the one before `removed_in`, and those that began from a model
    of such a run, on any version.

    Raises UserError if the orchestrator does not answer: then it is not known which runs there are.
    """
    runs: list[training_pb2.RunChanged] = []
    token = ""
    with channel_to(folder, "training_orchestrator") as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        while True:
            request = training_pb2.ListRunsRequest(page_size=1000, page_token=token)
            page: training_pb2.ListRunsResponse = stub.ListRuns(request, timeout=TIMEOUT_S)
            runs += page.runs
            token = page.next_page_token
            if not token:
                break
    return used_rows(reversed(runs), dataset, first_version, removed_in)


def used_rows(
    runs: Iterable[training_pb2.RunChanged], dataset: str, first_version: str, removed_in: str
) -> list[training_pb2.RunChanged]:
    """Those of `runs`, which come with the oldest first, that used rows of a retraction."""
    first, end = _number(first_version), _number(removed_in)
    used: list[training_pb2.RunChanged] = []
    models: set[str] = set()
    for run in runs:
        on_rows = run.dataset == dataset and first <= _number(run.dataset_version) < end
        if on_rows or run.parent_model_digest in models:
            used.append(run)
            models.update({run.model_digest} - {""})
    return used


def _number(version: str) -> int:
    return int(version.removeprefix("v"))
