"""Which pages a person may open: those whose main method the access policy allows to one of the person's roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fleetloop.kit.security.access import AccessPolicy
from fleetloop.kit.security.identity import Identity, IdentityKind

_PERSON = Identity("any", IdentityKind.USER, "any")
LOOP, TRIGGERS, LABEL = "/", "/triggers", "/label"


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    method: str
    """The method without which the page would show nothing."""


PAGES: Mapping[str, Page] = {
    LOOP: Page("The loop", "/fleet.dataset.v1.DatasetService/ListVersions"),
    TRIGGERS: Page("Triggers", "/fleet.campaign.v1.CampaignService/ListCampaigns"),
    LABEL: Page("Label", "/fleet.label.v1.LabelService/LeaseTask"),
}


class Rights:
    """The policy's answers for pages."""

    def __init__(self, policy: AccessPolicy) -> None:
        self._policy = policy
        self.pages = PAGES

    def may(self, method: str, roles: Collection[str]) -> bool:
        """Whether one of the roles may call a method, as the service behind it decides too."""
        return self._policy.permits(_PERSON, roles, method)

    def may_open(self, path: str, roles: Collection[str]) -> bool:
        """Whether one of the roles may open a page."""
        return path in self.pages and self.may(self.pages[path].method, roles)

    def open_pages(self, roles: Collection[str]) -> dict[str, str]:
        """The titles of all pages that these roles may open, by path."""
        return {path: each.title for path, each in self.pages.items() if self.may_open(path, roles)}

    def roles_for(self, path: str) -> tuple[str, ...]:
        """The roles that may open a page."""
        rule = self._policy.rule(self.pages[path].method)
        return rule.roles if rule is not None else ()
