"""The composition root of fleet_console."""

from __future__ import annotations

from fastapi import FastAPI

from fleet_console import serving
from fleet_console.campaign_watch import CampaignWatch
from fleet_console.peers import CampaignKeeper, LabelDesk, Peers, Services
from fleet_console.settings import FleetConsoleSettings
from fleet_console.worker import LoopWatch
from fleetloop.domain.access import load_access
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.rpc import RpcServer

SERVICE = "fleet-console"
log = get_logger(__name__)


async def start(runtime: Runtime, settings: FleetConsoleSettings) -> None:
    """Build the console from its parts and start it."""
    serving.set_nicegui_folder(settings.state_dir)
    from nicegui import core, ui  # after the line above: on import it decides where it stores files

    from fleet_console.pages.frame import FAVICON, add_assets
    from fleet_console.pages.label import LabelPageParts, add_label_page
    from fleet_console.pages.loop import add_loop_page
    from fleet_console.pages.triggers import add_triggers_page

    clock = SystemClock()
    peers = Peers(settings)
    runtime.on_stop(peers.close)
    watch = LoopWatch(Services(peers), clock, settings.poll_s)
    runtime.spawn("worker", watch.run(runtime.stopping))
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_assets(application)
    add_loop_page(watch, settings.fleet_id, settings.poll_s)
    add_triggers_page(
        CampaignWatch(CampaignKeeper(peers), clock, settings.poll_s), settings.fleet_id, settings.poll_s
    )
    parts = LabelPageParts(
        lambda name: LabelDesk(peers, name), clock, settings.fleet_id, settings.lease_s, settings.user_header
    )
    add_label_page(parts)
    ui.run_with(
        application, title="fleetloop", dark=None, favicon=FAVICON, show_welcome_message=False, tailwind=False
    )
    core.sio.eio.cors_allowed_origins = serving.own_origin(settings.page_origin)
    listening = serving.listen(settings.page_listen)
    runtime.spawn("pages", serving.serve(application, listening, runtime.stopping))
    server = RpcServer(runtime.service, settings, load_access(settings.config_dir))
    await server.start([])
    runtime.on_stop(server.stop)
    log.info("pages_listening", address=":".join(map(str, listening.getsockname()[:2])))


if __name__ == "__main__":
    run_service(SERVICE, FleetConsoleSettings, start)
