"""The loop, live."""

from __future__ import annotations

from nicegui import ui


def add_loop_page() -> None:
    """Registers `/`."""

    @ui.page("/", title="The loop · fleetloop")
    async def loop_page() -> None:
        ui.label("The loop")
