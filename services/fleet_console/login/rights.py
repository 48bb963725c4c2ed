"""Which pages a person may open: those whose main method the access policy allows to one of the person's roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fleetloop.kit.security.access import AccessPolicy
from fleetloop.kit.security.identity import Identity, IdentityKind

_PERSON = Identity("any", IdentityKind.USER, "any")
LOOP, TRIGGERS, LABEL, DEAD_LETTERS = "/", "/triggers", "/label", "/dead-letters"
HANDLES_DEAD_LETTERS = "operator"
"""The role that may see and decide about messages that were set aside. Kafka knows the console, not the person."""


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    method: str = ""
    """The method without which the page would show nothing; empty for a page that asks Kafka."""


PAGES: Mapping[str, Page] = {
    LOOP: Page("The loop", "/fleet.dataset.v1.DatasetService/ListVersions"),
    TRIGGERS: Page("Triggers", "/fleet.campaign.v1.CampaignService/ListCampaigns"),
    LABEL: Page("Label", "/fleet.label.v1.LabelService/LeaseTask"),
    DEAD_LETTERS: Page("Dead-letter queues"),
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
        if path not in self.pages:
            return False
        method = self.pages[path].method
        return self.may(method, roles) if method else HANDLES_DEAD_LETTERS in roles

    def open_pages(self, roles: Collection[str]) -> dict[str, str]:
        """The titles of all pages that these roles may open, by path."""
        return {path: each.title for path, each in self.pages.items() if self.may_open(path, roles)}

    def roles_for(self, path: str) -> tuple[str, ...]:
        """The roles that may open a page."""
        method = self.pages[path].method
        if not method:
            return (HANDLES_DEAD_LETTERS,)
        rule = self._policy.rule(method)
        return rule.roles if rule is not None else ()
