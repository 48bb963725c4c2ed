"""Settings of fleet_console."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class FleetConsoleSettings(ServiceSettings):
    """Settings of the console, in addition to those of every service. Services without an address are away."""

    page_listen: str = Field("127.0.0.1:8080", description="Address (host:port) that serves the pages.")
    user_header: str = Field(
        "",
        description="HTTP header in which a sign-on proxy names the person, such as X-Forwarded-User. Set it only "
        "if the console can be reached only through that proxy. Empty: the page asks for a name.",
    )
    page_origin: str = Field(
        "",
        pattern="^(https?://[^/]+)?$",
        description="Origin of the pages, such as https://fleet.example.org: a websocket from any other origin is "
        "refused. Empty: the host that the request names, or its proxy in X-Forwarded-Host.",
    )
    poll_s: float = Field(2.0, gt=0, description="Seconds between two polls of the services while a page is open.")
    lease_s: float = Field(300.0, gt=0, le=600, description="Length of a labeller's lease on a task, in seconds.")
    label_desk_address: str = Field("", description="Address (host:port) of label_desk.")
    label_router_address: str = Field("", description="Address (host:port) of label_router.")
    dataset_curator_address: str = Field("", description="Address (host:port) of dataset_curator.")
    training_orchestrator_address: str = Field("", description="Address (host:port) of training_orchestrator.")
    rollout_controller_address: str = Field("", description="Address (host:port) of rollout_controller.")
    fleet_monitor_address: str = Field("", description="Address (host:port) of fleet_monitor.")
    campaign_keeper_address: str = Field("", description="Address (host:port) of campaign_keeper.")
    telemetry_archiver_address: str = Field("", description="Address (host:port) of telemetry_archiver.")
