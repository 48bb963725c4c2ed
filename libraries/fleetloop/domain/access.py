"""The access policy of this version: read from the configuration, and checked against every RPC there is."""

from __future__ import annotations

from pathlib import Path

from fleetloop.kit.security.access import AccessPolicy, load_policy
from fleetloop.protos.archive.v1 import archive_pb2
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.detect.v1 import detect_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.route.v1 import route_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.training.v1 import training_pb2

FILE = "access.yaml"
_FILES = (
    archive_pb2,
    campaign_pb2,
    dataset_pb2,
    detect_pb2,
    label_pb2,
    monitor_pb2,
    rollout_pb2,
    route_pb2,
    telemetry_pb2,
    training_pb2,
)


def all_methods() -> dict[str, list[str]]:
    """The methods of every service, by the service's full name."""
    return {
        service.full_name: [method.name for method in service.methods]
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
    }


def load_access(config_dir: Path) -> AccessPolicy:
    """Return the policy of `access.yaml`, checked.

    Raises SettingsError for an unknown role, a method that does not exist, and a method without an entry.
    """
    return load_policy(config_dir / FILE, all_methods(), all_services=True)
