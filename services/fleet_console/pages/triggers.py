"""The page of triggers: campaigns, where each trigger is in force, and what it earned."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from nicegui import ui

from fleet_console.campaign_watch import CampaignWatch
from fleet_console.campaigns import CampaignCard, TriggersView
from fleet_console.login.rights import TRIGGERS
from fleet_console.login.sessions import Visit
from fleet_console.pages.frame import FrameParts, frame, heading, visit_of
from fleet_console.pages.loop import fill, table_of

_EARNED = {
    "fired": "Fired",
    "clips": "Clips",
    "bytes": "Size",
    "labelled": "Labelled",
    "kept": "Kept",
    "dropped": "Dropped, and why",
}
_TRIGGERS = {"trigger": "Trigger", "campaign": "Campaign", "state": "State", "force": "In force", **_EARNED,
             "hunts": "What it looks for"}  # fmt: skip
_EMPTY = "No campaign yet: fleetloop triggers apply brings the shipped ones."
_PAST = {"trigger": "Trigger", "campaign": "Campaign", **_EARNED}


def add_triggers_page(watch_of: Callable[[Visit], CampaignWatch], parts: FrameParts, refresh_s: float) -> None:
    """Register the page `/triggers`."""

    @ui.page(TRIGGERS, title="Triggers · fleetloop")
    def triggers_page(request: Request) -> None:
        visit = visit_of(request)
        campaigns = watch_of(visit)
        with frame(TRIGGERS, parts, visit):
            panels = _Panels()

        async def show() -> None:
            panels.update(await campaigns.view())

        ui.timer(refresh_s, show)  # the first call is immediate, but the page does not wait for the keeper


class _Panels:
    """The page's elements, made once and updated where something changed."""

    def __init__(self) -> None:
        heading("Triggers", 1)
        self._notice = ui.label("Asking the keeper.").classes("notice").props("role=status")
        with ui.element("section").classes("panel"):
            heading("Campaigns")
            self._force = ui.label().classes("quiet")
            self._campaigns = ui.element("dl").classes("facts")
        with ui.element("section").classes("panel"):
            heading("What each looks for, and what it earned")
            self._triggers = table_of(_TRIGGERS, _EMPTY, 100)
        with ui.element("section").classes("panel"):
            heading("Earlier versions")
            self._past = table_of(_PAST, "No trigger has been replaced or removed yet.")
        self._cards: list[CampaignCard] = []

    def update(self, view: TriggersView) -> None:
        """Show the newest view."""
        away = f"Away: campaign keeper ({view.away}). The page shows its last answers." if view.away else ""
        self._notice.set_text(away)
        self._notice.set_visibility(bool(away))
        self._force.set_text(view.force)
        fill(self._triggers, view.triggers)
        fill(self._past, view.past)
        if list(view.campaigns) != self._cards:
            self._cards = list(view.campaigns)
            self._campaigns.clear()
            with self._campaigns:
                for card in self._cards:
                    with ui.element("dt"):
                        ui.label(f"{card.name}: {card.state}")
                    with ui.element("dd"):
                        ui.label(card.note)
