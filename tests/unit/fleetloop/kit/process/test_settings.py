from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from fleetloop.kit.process.settings import ServiceSettings, SettingsError, load_edited, load_settings


class DeskSettings(ServiceSettings):
    lease_s: float = Field(60, gt=0, description="How long a lease lasts.")


def test_a_missing_variable_is_named_with_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    with pytest.raises(
        SettingsError, match=r"FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS: Field required \(Addresses of Kafka"
    ):
        load_settings(DeskSettings)


def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    monkeypatch.setenv("FLEETLOOP_LEASE_S", "-1")
    with pytest.raises(SettingsError, match="FLEETLOOP_LEASE_S: Input should be greater than 0"):
        load_settings(DeskSettings)


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    settings = load_settings(DeskSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.lease_s = 3.0  # type: ignore[misc]


class Edited(BaseModel):
    cell_m: float


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file; copy the shipped one, config/routing.yaml"),
        ("cell_m: [1", "not YAML"),
        ("cell_m: wide", "routing.yaml: cell_m: Input should be a valid number"),
        ("", "routing.yaml"),
    ],
)
def test_a_wrong_file_names_itself_and_the_field(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "routing.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=says):
        load_edited(path, Edited)
