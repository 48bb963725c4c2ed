"""Who may change what the fleet looks out for."""

from __future__ import annotations

import pytest

from campaign_keeper.rpc import ALLOWED, SERVICE_NAME
from fleetloop.kit.security.identity import AllowList, Identity
from fleetloop.protos.campaign.v1 import campaign_pb2

LIST = AllowList("f", ALLOWED)
METHODS = [method.name for method in campaign_pb2.DESCRIPTOR.services_by_name["CampaignService"].methods]
CHANGING = {"ApplyCampaign", "SetCampaignState", "ResumeTrigger"}


@pytest.mark.parametrize("method", METHODS)
def test_services_read_people_and_their_page_change_and_vehicles_do_neither(method: str) -> None:
    def may(kind: str, name: str) -> bool:
        return LIST.permits(Identity("f", kind, name), f"/{SERVICE_NAME}/{method}")

    reports = method == "ReportInForce"
    assert may("user", "engineer") is not reports
    assert may("service", "fleet-console") is not reports
    assert may("service", "trigger-detector") is (method not in CHANGING)
    assert may("service", "label-router") is (method not in CHANGING and not reports)
    assert not may("vehicle", "v1")
