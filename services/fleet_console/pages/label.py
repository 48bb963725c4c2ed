"""The page that people label on."""

from __future__ import annotations

from nicegui import ui


def add_label_page() -> None:
    """Registers `/label`."""

    @ui.page("/label", title="Label · fleetloop")
    async def label_page() -> None:
        ui.label("Label")
