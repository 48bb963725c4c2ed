"""The keeper on a real Kafka: SIGKILLs under load, repeats and disorder neither lose nor double anything counted."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

import grpc
import numpy as np
import pytest
from tests.integration.loop.topics import Topics

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import CAMPAIGN, CLIP, DATASET, LABEL, LABEL_TASK, TRIGGER
from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.rpc import open_channel, speak_for
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2

T = TypeVar("T")
FIRINGS, LABELS, QUOTA = 60, 40, 25
NOW_NS = time.time_ns()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRun]:
    """The keeper, the router and a detector, up and ready: what is written here is no work for a desk."""
    folder = tmp_path_factory.mktemp("keeper")
    services = ["campaign_keeper", "label_router", "trigger_detector"]
    with embedded_run(folder, now=datetime.now(UTC), services=services, ready_within_s=120) as running:
        yield running


@pytest.fixture
async def topics(run: EmbeddedRun) -> AsyncIterator[Topics]:
    """Topics of the run."""
    topics = Topics(run.fleet)
    await topics.start()
    yield topics
    await topics.stop()


async def patiently(call: Callable[[], Awaitable[T]], within_s: float = 60) -> T:
    """The same request until the keeper answers: it is being killed."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            assert time.monotonic() < deadline, error.details()
            await asyncio.sleep(0.3)


def kill(run: EmbeddedRun, within_s: float = 60) -> None:
    """SIGKILLs the keeper once it is up again after the last time."""
    deadline = time.monotonic() + within_s
    while True:
        run.supervisor.wait_ready(within_s)
        try:
            run.supervisor.kill("campaign_keeper", signal.SIGKILL)
        except ProcessLookupError:  # the supervisor had not yet noticed the last kill
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


def events_of(campaign: str, trigger: str) -> list[Event]:
    """All that becomes of the firings of one trigger, in the loop's order."""
    events = []
    for number in range(FIRINGS):
        firing = causal_id("firing", trigger, number)
        vehicle = f"car-{number % 5}"
        origin = provenance_pb2.Provenance(
            fleet_id="demo", vehicle_id=vehicle, trigger=trigger, trigger_version=1, campaign=campaign
        )
        fired = trigger_pb2.TriggerFired(event_id=firing, provenance=origin, detected_at_utc_ns=NOW_NS)
        events.append(event_of(TRIGGER, vehicle, firing, fired, NOW_NS))
        stored = clip_pb2.ClipStored(
            event_id=causal_id("stored", firing),
            provenance=provenance_pb2.Provenance(vehicle_id=vehicle, clip_id=firing * 2, firing_id=firing),
            size_bytes=1000 + number,
        )
        events.append(event_of(CLIP, vehicle, stored.event_id, stored, NOW_NS))
        origin.firing_id = firing
        created = label_pb2.LabelTaskCreated(task_id=causal_id("task", firing), provenance=origin, project="none")
        events.append(event_of(LABEL_TASK, firing, created.task_id, created, NOW_NS))
        if number < LABELS:
            labelled = label_pb2.SampleLabelled(
                event_id=causal_id("label", firing), provenance=origin, outcome=label_pb2.LABEL_OUTCOME_AGREED
            )
            events.append(event_of(LABEL, firing, labelled.event_id, labelled, NOW_NS))
    committed = dataset_pb2.DatasetCommitted(
        event_id=causal_id("commit", trigger),
        dataset="ledger-test",
        by_trigger=[dataset_pb2.TriggerCount(trigger=trigger, version=1, samples=LABELS - 3)],
    )
    events.append(event_of(DATASET, "ledger-test", committed.event_id, committed, NOW_NS))
    return events


async def test_sigkills_and_disorder_leave_an_exact_ledger(topics: Topics, run: EmbeddedRun) -> None:
    name = uuid4().hex[:8]
    campaign, trigger = f"camp-{name}", f"fast_{name}"
    definitions = [
        campaign_pb2.TriggerDefinition(
            name=each,
            version=1,
            expression="Vehicle.Speed > 100 km/h",
            mode=campaign_pb2.TRIGGER_MODE_RISING_EDGE,
            min_interval_s=10,
            sampling_fraction=1,
            quota_labels=quota,
        )
        for each, quota in ((trigger, QUOTA), (f"other_{name}", 0))
    ]
    wanted = campaign_pb2.Campaign(campaign=campaign, triggers=definitions)
    person = run.fleet.credentials()
    address = run.fleet.address("campaign_keeper")
    async with open_channel("campaign-keeper", address, person.ca, person.cert, person.key) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        apply = campaign_pb2.ApplyCampaignRequest(request_id=uuid4().hex, campaign=wanted)
        for _ in range(2):  # a repeat of a request has no further effect
            applied = await patiently(lambda: stub.ApplyCampaign(apply, timeout=5))
        assert (applied.campaign.revision, applied.campaign.approved_by) == (1, "user/local")

        chance = np.random.default_rng(11)
        events = events_of(campaign, trigger)
        order = np.argsort(np.arange(len(events)) + chance.uniform(0, 12, len(events)))  # clips before their firings
        for place, index in enumerate(order.tolist()):
            await topics.write(events[index], times=1 + int(chance.random() < 0.3))
            if place % 50 == 30:
                await asyncio.to_thread(kill, run)

        async def earned() -> campaign_pb2.TriggerEarnings:
            ask = campaign_pb2.GetLedgerRequest(campaign=campaign)
            ledger = await patiently(lambda: stub.GetLedger(ask, timeout=5))
            return next((e for e in ledger.earnings if e.trigger == trigger), campaign_pb2.TriggerEarnings())

        whole = (FIRINGS, FIRINGS, FIRINGS * 1000 + sum(range(FIRINGS)), FIRINGS, LABELS, LABELS - 3)
        deadline = time.monotonic() + 60
        while True:
            e = await earned()
            counts = (e.fired, e.clips, e.clip_bytes, e.tasks, e.labelled, e.kept)
            if counts == whole or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.3)
        assert counts == whole
        await asyncio.sleep(1.5)  # nothing comes after
        e = await earned()
        assert dict(e.dropped) == {"no_route": FIRINGS}  # config/routing.yaml has none for this trigger
        assert (e.fired, e.clips, e.clip_bytes, e.tasks, e.labelled, e.kept) == whole

        again = await patiently(lambda: stub.ApplyCampaign(
            campaign_pb2.ApplyCampaignRequest(request_id=uuid4().hex, campaign=wanted), timeout=5
        ))  # fmt: skip
        assert (list(again.finished), again.campaign.revision) == ([trigger], 2)
    announced = await topics.read(CAMPAIGN, campaign, 2)
    revisions = {campaign_pb2.Campaign.FromString(message.value).revision: message for message in announced}
    assert sorted(revisions) == [1, 2]
    last = campaign_pb2.Campaign.FromString(revisions[2].value)
    assert [t.name for t in last.triggers] == [f"other_{name}"]
    assert [f.reason for f in last.finished] == [f"{trigger} v1 has its {QUOTA} labels"]


async def test_what_a_detector_really_evaluates_is_known_and_follows_what_people_do(run: EmbeddedRun) -> None:
    name = uuid4().hex[:8]
    person = run.fleet.credentials()
    address = run.fleet.address("campaign_keeper")
    async with open_channel("campaign-keeper", address, person.ca, person.cert, person.key) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)

        async def apply(version: int) -> None:
            definition = campaign_pb2.TriggerDefinition(
                name=f"watched_{name}",
                version=version,
                expression=f"Vehicle.Speed > {100 + version} km/h",
                mode=campaign_pb2.TRIGGER_MODE_RISING_EDGE,
                min_interval_s=10,
                sampling_fraction=1,
            )
            wanted = campaign_pb2.Campaign(campaign=f"watch-{name}", triggers=[definition])
            request = campaign_pb2.ApplyCampaignRequest(request_id=uuid4().hex, campaign=wanted)
            await patiently(lambda: stub.ApplyCampaign(request, timeout=5))

        async def in_force() -> list[dict[str, int]]:
            """Versions of the campaign's triggers, by process."""
            answer = await patiently(lambda: stub.GetInForce(campaign_pb2.GetInForceRequest(), timeout=5))
            return [
                {
                    key: value
                    for c in p.report.campaigns
                    if c.campaign == f"watch-{name}"
                    for key, value in c.triggers.items()
                }
                for p in answer.processes
            ]

        async def until(wanted: list[dict[str, int]]) -> None:
            deadline = time.monotonic() + 60
            while (found := await in_force()) != wanted:
                assert time.monotonic() < deadline, found
                await asyncio.sleep(0.3)

        for version in (1, 2):
            await apply(version)
            await until([{f"watched_{name}": version}])
        run.supervisor.kill("trigger_detector", signal.SIGKILL)
        held = campaign_pb2.SetCampaignStateRequest(
            request_id=uuid4().hex, campaign=f"watch-{name}", state=campaign_pb2.CAMPAIGN_STATE_SUSPENDED
        )
        await patiently(lambda: stub.SetCampaignState(held, timeout=5))
        await until([{}])


async def test_the_console_has_the_rights_of_the_person_it_names_and_none_of_its_own(run: EmbeddedRun) -> None:
    identity = run.layout.identities / "services" / "fleet_console"
    authority = CertificateAuthority.open(run.layout.identities / "authority", fleet="demo", now=datetime.now(UTC))
    authority.issue(IdentityKind.SERVICE, "fleet-console", identity, now=datetime.now(UTC))
    address = run.fleet.address("campaign_keeper")
    async with open_channel(
        "campaign-keeper", address, identity / "ca.pem", identity / "cert.pem", identity / "key.pem"
    ) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        lead, look = speak_for("ann", ["lead"]), campaign_pb2.ListCampaignsRequest()
        await patiently(lambda: stub.ListCampaigns(look, timeout=5, metadata=lead))
        request = campaign_pb2.SetCampaignStateRequest(request_id="x", campaign="standing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListCampaigns(look, timeout=5)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SetCampaignState(request, timeout=5, metadata=lead)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
