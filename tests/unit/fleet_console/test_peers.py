"""The services asked over gRPC: one that is away costs no other service's figures; the desk knows who calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.callers import Callers
from tests.unit.fleet_console.visits import visit_of

from fleet_console.desk import DeskAwayError, DeskRefusedError, TooLateError
from fleet_console.login.rights import Rights
from fleet_console.login.sessions import SessionEndedError
from fleet_console.model import Facts
from fleet_console.peers import NOT_ALLOWED, PEERS, LabelDesk, Peers, Services
from fleet_console.settings import FleetConsoleSettings
from fleetloop.domain.access import load_access
from fleetloop.kit.rpc import RpcServer, caller
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc

RIGHTS = Rights(load_access(Path("config")))
ROLES = ("labeller", "ml-engineer", "operator")


class Desk(label_pb2_grpc.LabelServiceServicer):
    """Gives every caller one task that is named after them."""

    async def LeaseTask(self, request: object, context: object) -> label_pb2.LeaseTaskResponse:
        task = label_pb2.LabelTaskCreated(task_id=str(caller()))
        return label_pb2.LeaseTaskResponse(assignment=label_pb2.LabelAssignment(lease_id="l", task=task))

    async def SubmitLabel(
        self, request: label_pb2.SubmitLabelRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> label_pb2.SubmitLabelResponse:
        await context.abort(grpc.StatusCode[request.task_id], "said the desk")
        raise AssertionError("abort raises")

    async def GetProgress(self, request: object, context: object) -> label_pb2.GetProgressResponse:
        return label_pb2.GetProgressResponse(projects=[label_pb2.ProjectProgress(project="p", open=3)])

    async def GetAgreement(self, request: object, context: object) -> label_pb2.GetAgreementResponse:
        return label_pb2.GetAgreementResponse()

    async def GetTaskFrames(self, request: object, context: object) -> label_pb2.GetTaskFramesResponse:
        raise NotImplementedError

    async def UndoLabel(self, request: object, context: object) -> label_pb2.UndoLabelResponse:
        raise NotImplementedError

    async def ReleaseTask(self, request: object, context: object) -> label_pb2.ReleaseTaskResponse:
        raise NotImplementedError


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    """A console's peers, of which the desk is there, the router's port is closed, and the rest have no address."""
    callers = Callers(tmp_path)
    console = callers.admitted("service/fleet-console")
    server = RpcServer("label-desk", callers.settings("label-desk"), load_access(Path("config")))
    label_pb2_grpc.add_LabelServiceServicer_to_server(Desk(), server.server)
    await server.start([])
    found = Peers(
        FleetConsoleSettings(
            fleet_id="f", kafka_bootstrap_servers="none:1", tls_ca=console.ca, tls_cert=console.cert,
            tls_key=console.key, label_desk_address=f"127.0.0.1:{server.port}", label_router_address="127.0.0.1:1",
        )
    )  # fmt: skip
    yield found
    await found.close()
    await server.stop(0)


async def test_who_is_away_keeps_the_last_answer_and_is_named(peers: Peers) -> None:
    services = Services(peers, visit_of("ann", *ROLES), RIGHTS)
    facts = await services.ask(Facts())
    assert facts.progress.projects[0].open == 3
    assert set(facts.away) == set(PEERS) - {"label_desk"}
    assert facts.away["fleet_monitor"] == "no address is set for it"
    assert facts.away["label_router"] in ("it does not answer", "it takes too long to answer")
    assert facts.heard == {"label_desk"}
    unreachable = await Services(
        Peers(FleetConsoleSettings(kafka_bootstrap_servers="none:1")), visit_of("ann", *ROLES), RIGHTS
    ).ask(facts)
    assert unreachable.progress.projects[0].open == 3
    assert set(unreachable.away) == set(PEERS)


async def test_the_desk_hears_for_whom_the_console_speaks(peers: Peers) -> None:
    for name in ("ann", "ben"):
        assignment = await LabelDesk(peers, visit_of(name, "labeller")).lease(60)
        assert assignment is not None
        assert assignment.task.task_id == f"user/{name}"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("FAILED_PRECONDITION", TooLateError),
        ("NOT_FOUND", TooLateError),
        ("INVALID_ARGUMENT", DeskRefusedError),
        ("PERMISSION_DENIED", DeskRefusedError),
        ("DEADLINE_EXCEEDED", DeskAwayError),
    ],
)
async def test_refusals_are_told_apart(peers: Peers, code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await LabelDesk(peers, visit_of("ann", "labeller")).submit(label_pb2.SubmitLabelRequest(task_id=code))


async def test_a_desk_without_an_address_is_away() -> None:
    desk = LabelDesk(Peers(FleetConsoleSettings(kafka_bootstrap_servers="none:1")), visit_of("ann", "labeller"))
    with pytest.raises(DeskAwayError):
        await desk.open_tasks()


async def test_only_what_the_roles_allow_is_asked(peers: Peers) -> None:
    facts = await Services(peers, visit_of("lea", "labeller"), RIGHTS).ask(Facts())
    assert facts.heard == {"label_desk"}
    assert {peer for peer, reason in facts.away.items() if reason == NOT_ALLOWED} == set(PEERS) - {"label_desk"}


async def test_nothing_is_asked_after_the_session(peers: Peers) -> None:
    visit = visit_of("ann", "labeller")
    desk, services = LabelDesk(peers, visit), Services(peers, visit, RIGHTS)
    assert await desk.open_tasks() == 3
    visit.sessions.end("", everywhere=True)
    assert await desk.open_tasks() == 3, "an unknown token ends nothing"
    visit.session.ended.set()
    with pytest.raises(DeskRefusedError, match="log in again"):
        await desk.open_tasks()
    with pytest.raises(SessionEndedError):
        await services.ask(Facts())
