"""The composition root of fleet_console."""

from __future__ import annotations

from fastapi import FastAPI

from fleet_console import serving
from fleet_console.handling import Handling
from fleet_console.login.doors import Doors, Hosts
from fleet_console.login.people import People
from fleet_console.login.provider import Provider
from fleet_console.login.rights import Rights
from fleet_console.login.routes import LoginParts, add_login, session_cookie
from fleet_console.login.sessions import Sessions
from fleet_console.peers import LabelDesk, Peers
from fleet_console.settings import FleetConsoleSettings, check_login
from fleet_console.watches import Watches
from fleetloop.domain.access import load_access
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.rpc import RpcServer, admissions_of
from fleetloop.kit.security.passwords import Accounts
from fleetloop.shipped import topic_catalogue

SERVICE = "fleet-console"
log = get_logger(__name__)


async def start(runtime: Runtime, settings: FleetConsoleSettings) -> None:
    """Build the console from its parts and start it."""
    serving.set_nicegui_folder(settings.state_dir)
    from nicegui import ui  # after the line above: on import it decides where it stores files

    from fleet_console.pages.dead_letters import add_dead_letters_page
    from fleet_console.pages.frame import FAVICON, FrameParts, add_assets
    from fleet_console.pages.label import LabelPageParts, add_label_page
    from fleet_console.pages.loop import add_loop_page
    from fleet_console.pages.triggers import add_triggers_page

    clock = SystemClock()
    policy = load_access(settings.config_dir)
    rights = Rights(policy)
    check_login(settings, policy.roles)
    people = People(
        settings.fleet_id,
        admissions_of(settings),
        policy.roles,
        Accounts(settings.accounts) if settings.accounts is not None else None,
    )
    sessions = Sessions(people, clock, settings.session_idle_s, settings.session_longest_s)
    runtime.spawn("sessions", sessions.watch(runtime.stopping, settings.session_check_s))
    peers = Peers(settings)
    runtime.on_stop(peers.close)
    watches = Watches(peers, rights, clock, settings.poll_s, runtime.stopping)
    runtime.on_stop(watches.close)
    provider = Provider(settings, clock) if settings.oidc_issuer else None
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_login(application, LoginParts(settings, sessions, people, rights, clock, provider))
    add_assets(application)
    frame = FrameParts(settings.fleet_id, rights)
    add_loop_page(watches.loop, frame, settings.poll_s)
    add_triggers_page(watches.campaigns, frame, settings.poll_s)
    add_label_page(LabelPageParts(lambda visit: LabelDesk(peers, visit), clock, settings.lease_s, frame))
    topics = load_topics(topic_catalogue())
    add_dead_letters_page(lambda visit: Handling(settings, topics, visit, clock), frame)
    ui.run_with(
        application, title="fleetloop", dark=None, favicon=FAVICON, show_welcome_message=False, tailwind=False
    )
    doors = Doors(
        application,
        Hosts(settings.page_origin, settings.page_hosts, settings.page_listen),
        sessions,
        rights,
        session_cookie(settings.page_origin),
    )
    listening = serving.listen(settings.page_listen)
    runtime.spawn("pages", serving.serve(doors, listening, runtime.stopping))
    server = RpcServer(runtime.service, settings, policy)
    await server.start([])
    runtime.on_stop(server.stop)
    log.info("pages_listening", address=":".join(map(str, listening.getsockname()[:2])))


if __name__ == "__main__":
    run_service(SERVICE, FleetConsoleSettings, start)
