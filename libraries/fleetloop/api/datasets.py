"""Datasets: import a set that is labelled already."""

from __future__ import annotations

from pathlib import Path

from fleetloop.api.channel import channel_to, request_id
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc

SERVICE = "dataset_curator"
# An import reads, embeds and compares every sample before it answers.
_IMPORT_TIMEOUT_S = 1800.0


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
