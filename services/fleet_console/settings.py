"""Settings of fleet_console."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings, SettingsError


class FleetConsoleSettings(ServiceSettings):
    """Settings of the console, in addition to those of every service. Services without an address are away."""

    page_listen: str = Field("127.0.0.1:8080", description="Address (host:port) that serves the pages.")
    page_origin: str = Field(
        "",
        pattern="^(https?://[^/]+)?$",
        description="Origin of the pages, such as https://fleet.example.org. Requests that change something and "
        "websockets from any other origin are refused. Empty: http:// with the host that the request names.",
    )
    page_hosts: str = Field(
        "",
        description="Further host names of the console, separated by commas; requests to any other are refused. "
        "Always allowed: that of page_origin and, if page_listen is a loopback address, localhost.",
    )
    accounts: Path | None = Field(
        None, description="File of local accounts, which `fleetloop users password` writes; unset: no local accounts."
    )
    links: Path | None = Field(
        None, description="Folder of one-time links, which `fleetloop users link` writes; unset: no links."
    )
    oidc_issuer: str = Field(
        "",
        pattern=r"^(https://.+|http://(localhost|127\.0\.0\.1)(:\d+)?(/.*)?)?$",
        description="Issuer of the OpenID Connect provider at which people log in; empty: none. Needs page_origin.",
    )
    oidc_client_id: str = Field("", description="Name of the console at the provider.")
    oidc_client_secret: str = Field(
        "", repr=False, description="The console's secret at the provider; empty: a public client, by PKCE only."
    )
    oidc_ca: Path | None = Field(None, description="PEM file of the provider's CA; unset: that of the system.")
    oidc_scopes: str = Field("openid profile email", description="Scopes to ask the provider for.")
    oidc_name_claim: str = Field(
        "preferred_username",
        description="Claim with the person's name. It has to be unique, and people must not be able to change it.",
    )
    oidc_roles_claim: str = Field(
        "groups", description="Claim with the list of the person's groups; dots lead into objects."
    )
    oidc_groups: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description='Roles by group as JSON, such as {"labelling-team": ["labeller"]}. Other groups give nothing.',
    )
    session_idle_s: float = Field(3600.0, gt=0, description="Seconds without use after which a session ends.")
    session_longest_s: float = Field(43_200.0, gt=0, description="Seconds after the login when a session ends.")
    session_check_s: float = Field(
        5.0, gt=0, description="Seconds between two checks whether people of open sessions are still admitted."
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


def check_login(settings: FleetConsoleSettings, roles: Collection[str]) -> None:
    """Raises SettingsError when the settings of the login contradict each other or name an unknown role."""
    faults = []
    if settings.oidc_issuer and not (settings.oidc_client_id and settings.page_origin):
        faults.append("FLEETLOOP_OIDC_ISSUER: it needs FLEETLOOP_OIDC_CLIENT_ID and FLEETLOOP_PAGE_ORIGIN")
    if settings.oidc_issuer and not settings.oidc_groups:
        faults.append("FLEETLOOP_OIDC_GROUPS: without it no person of the provider has a role")
    for group, given in settings.oidc_groups.items():
        unknown = [role for role in given if role not in roles]
        if unknown:
            faults.append(f"FLEETLOOP_OIDC_GROUPS: {group}: there is no role {unknown}; there are {', '.join(roles)}")
    if faults:
        raise SettingsError("\n".join(faults))
