"""What every service is told. The broker stands outside (an address), so that only the wiring is under test."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse

import pytest

from fleetloop.embedded.run_specs import build_run_specs, chosen
from fleetloop.embedded.service_table import SERVICES
from fleetloop.errors import UserError
from fleetloop.layout import RunLayout

NOW = datetime(2026, 3, 1, tzinfo=UTC)
INSTALLED = "fleetloop"


@pytest.fixture
def kafka_address() -> Iterator[str]:
    """Something that answers one ApiVersions request as a broker would."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                request = connection.recv(64)
                connection.sendall(struct.pack(">i", 10) + request[8:12] + struct.pack(">hi", 0, 0))

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_service_is_told_everything_by_its_environment(
    tmp_path: Path, kafka_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetloop.embedded.run_specs.importlib.util.find_spec", lambda name: name)
    layout = RunLayout.at(tmp_path)
    run_specs = build_run_specs(
        layout,
        now=NOW,
        rng=random.Random(1),
        environ={"KAFKA_BOOTSTRAP_SERVERS": kafka_address},
        more_env={"label_desk": {"FLEETLOOP_LEASE_S": "9"}},
    )
    specs = {spec.name: spec for spec in run_specs.specs}
    assert list(specs) == ["topics", *(each.package for each in SERVICES)]
    desk = specs["label_desk"]
    assert desk.command[1:] == ("-m", "label_desk")
    assert desk.needs == ("topics",)
    env = desk.env
    assert env["FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS"] == kafka_address == run_specs.info["kafka_bootstrap_servers"]
    assert "FLEETLOOP_KAFKA_USERNAME" not in env and "kafka_users" not in run_specs.info  # its users are not ours
    assert env["FLEETLOOP_EVENT_KEY"] == str(layout.event_keys / "label-desk.pem")
    assert "FLEETLOOP_EVENT_KEY" not in specs["label_router"].env
    assert Path(specs["label_router"].env["FLEETLOOP_EVENT_TRUST"]).is_file()
    assert env["FLEETLOOP_GRPC_LISTEN"] == run_specs.info["label_desk_grpc"] == f"127.0.0.1:{desk.ports['grpc']}"
    assert env["FLEETLOOP_LEASE_S"] == "9"
    assert "FLEETLOOP_LEASE_S" not in specs["label_router"].env
    assert specs["label_router"].env["FLEETLOOP_LABEL_DESK_ADDRESS"] == env["FLEETLOOP_GRPC_LISTEN"]
    for name in ("TLS_CA", "TLS_CERT", "TLS_KEY"):
        assert Path(env[f"FLEETLOOP_{name}"]).is_file()
    assert Path(urlparse(env["FLEETLOOP_OBJECTS_URL"]).path) == layout.objects
    assert env["FLEETLOOP_DATABASE_URL"] == f"sqlite:///{layout.service_state('label_desk')}/state.db"
    listens = [value for spec in run_specs.specs for key, value in spec.env.items() if key.endswith("_LISTEN")]
    assert len(listens) == len(set(listens)) == 2 * len(SERVICES) + 1


def test_services_may_be_written_with_hyphens_and_unknown_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetloop.embedded.run_specs.importlib.util.find_spec", lambda name: name)
    assert [each.package for each in chosen(["label-desk", "telemetry_gateway"])] == [
        "telemetry_gateway",
        "label_desk",
    ]
    assert chosen([]) == ()
    with pytest.raises(UserError, match="There is no service 'lable_desk'"):
        chosen(["lable-desk"])


def test_a_service_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetloop.embedded.run_specs.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="label_desk is not installed"):
        chosen(["label_desk"])
