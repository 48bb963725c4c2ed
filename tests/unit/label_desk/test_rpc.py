"""What a labeller is told, and how long a lease may last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clips import reading
from tests.unit.label_desk.test_audits import checked_by_people
from tests.unit.label_desk.test_transactions import created

from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit import rpc as fleetkit_rpc
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.refusal import RefusalKind, RefusedError
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.shipped import config_folder
from label_desk import transactions
from label_desk.model import Check
from label_desk.rpc import LabelService
from label_desk.settings import LabelDeskSettings
from label_desk.store import Base

CLOCK = ManualClock()


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[LabelService]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    for task_id in ("t1", "t2"):
        database.run_now(lambda tx, t=task_id: transactions.create_task(tx, created(t)))  # type: ignore[misc]
    settings = LabelDeskSettings(kafka_bootstrap_servers="none:1", longest_lease_s=30)
    schema = load_task_schema(config_folder() / "tasks.yaml")
    token = fleetkit_rpc._caller.set(Identity("demo", "user", "ann"))
    with reading(Objects(tmp_path.as_uri()), schema) as clips:
        yield LabelService(database, clips, schema, CLOCK, settings)
    fleetkit_rpc._caller.reset(token)
    database.close()


async def lease(service: LabelService, request_id: str = "", lease_s: float = 30) -> label_pb2.LabelAssignment:
    request = label_pb2.LeaseTaskRequest(lease_s=lease_s, request_id=request_id)
    return (await service.LeaseTask(request, None)).assignment


async def test_a_lease_is_never_longer_than_the_longest_also_after_an_undo(service: LabelService) -> None:
    for lease_s in (0, 30.5):
        with pytest.raises(RefusedError, match="lease_s: ask for more than 0 and at most 30 seconds"):
            await lease(service, lease_s=lease_s)
    held = await lease(service)
    answer = label_pb2.SubmitLabelRequest(
        request_id="s1", task_id=held.task.task_id, lease_id=held.lease_id, answers={"stop_sign": "held"}
    )
    await service.SubmitLabel(answer, None)
    undo = label_pb2.UndoLabelRequest(request_id="u1", task_id=held.task.task_id)
    again = (await service.UndoLabel(undo, None)).assignment
    assert again.task == held.task
    assert again.lease_expires_at_utc_ns == CLOCK.now_utc_ns() + seconds_to_ns(30)
    assert (await service.UndoLabel(undo, None)).assignment == again


async def test_a_repeated_request_for_a_task_gets_the_same_lease(service: LabelService) -> None:
    first = await lease(service, "r1")
    assert await lease(service, "r1") == first
    assert (await lease(service, "r2")).task.task_id != first.task.task_id
    assert (await lease(service, "r3")).lease_id == "", "there are but two"


async def test_a_wrong_answer_names_its_place(service: LabelService) -> None:
    held = await lease(service)
    for answers, field in (({"stop_sign": "purple"}, "answers[stop_sign]"), ({"speed": "x"}, "answers[speed]")):
        request = label_pb2.SubmitLabelRequest(
            request_id=field, task_id=held.task.task_id, lease_id=held.lease_id, answers=answers
        )
        with pytest.raises(RefusedError) as caught:
            await service.SubmitLabel(request, None)
        assert caught.value.kind is RefusalKind.INVALID_ARGUMENT
        assert str(caught.value).startswith(f"{field}: ")


async def test_a_service_that_speaks_for_nobody_labels_nothing(service: LabelService) -> None:
    token = fleetkit_rpc._caller.set(Identity("demo", "service", "fleet-console"))
    with pytest.raises(RefusedError, match="is no labeller"):
        await lease(service)
    fleetkit_rpc._caller.reset(token)


async def test_agreement_is_told_by_source_and_by_vehicle(service: LabelService) -> None:
    database = service._database
    assert await service.GetAgreement(label_pb2.GetAgreementRequest(), None) == label_pb2.GetAgreementResponse(
        least_agreement=0.9
    )
    for number in range(3):
        checked_by_people(database, number, "liar", right=False, check=Check.OF_SOURCE)
        checked_by_people(database, 10 + number, "honest", right=True, check=Check.OF_SOURCE)
    answer = await service.GetAgreement(label_pb2.GetAgreementRequest(), None)
    assert [(each.agreed, each.checked, each.decides) for each in answer.sources] == [(3, 6, True)]
    liar, honest = answer.vehicles
    assert (liar.vehicle_id, liar.agreed, liar.checked, liar.decides, liar.low) == ("liar", 0, 3, False, 0)
    assert (honest.decides, honest.high) == (True, 1)
    assert liar.high == pytest.approx(0.829, abs=1e-3)
    assert answer.contradicted_vehicles == 1
    one = await service.GetAgreement(label_pb2.GetAgreementRequest(vehicle_id="honest"), None)
    assert ([each.vehicle_id for each in one.vehicles], one.contradicted_vehicles) == (["honest"], 0)
