"""What runs elsewhere, as the command line finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetloop.api.installation import RunningFleet
from fleetloop.errors import UserError


def test_an_installation_on_a_cluster_is_found_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"fleet_id": "demo", "campaign_keeper_grpc": "localhost:9001"}')
    fleet = RunningFleet.open(tmp_path)
    assert (fleet.fleet_id, fleet.address("campaign-keeper")) == ("demo", "localhost:9001")
    with pytest.raises(UserError, match="label_desk is not part"):
        fleet.address("label_desk")


@pytest.mark.parametrize("text", ["{", "[]", '{"campaign_keeper_grpc": "x"}', '{"fleet_id": 1}'])
def test_a_wrong_file_is_named_with_what_it_should_be(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(UserError, match=r"cluster\.json") as caught:
        RunningFleet.open(tmp_path)
    assert "campaign_keeper_grpc" in caught.value.remedy


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No fleet is running"):
        RunningFleet.open(tmp_path)
