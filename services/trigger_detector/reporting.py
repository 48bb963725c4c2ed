"""Reports to the keeper what this process evaluates, at every change and every ten seconds.

The keeper knows what should run; only this process knows what does. While the keeper cannot be reached, the detector
goes on without reporting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import grpc

from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from trigger_detector.campaigns import CampaignBook
from trigger_detector.plan import Plan

_CHECK_EVERY_S = 0.5
"""How soon a change is reported."""
_REPORT_EVERY_S = 10.0
"""How often a report is repeated without a change."""
_TIMEOUT_S = 5.0
"""Deadline of a report."""
log = get_logger(__name__)


class Evaluating(Protocol):
    """What a report needs to know of a stream."""

    book: CampaignBook
    plan: Plan
    refused: Mapping[str, str]
    """Triggers that cannot run here, with the reason for each."""

    def assigned(self) -> Sequence[int]:
        """Partitions that this process reads."""
        ...

    def vehicles(self) -> int:
        """Vehicles with state."""
        ...


def report_of(stream: Evaluating, reporter: str) -> campaign_pb2.ReportInForceRequest:
    """The report of what a process has in force now."""
    return campaign_pb2.ReportInForceRequest(
        reporter=reporter,
        campaigns=list(_campaigns(stream)),
        partitions=stream.assigned(),
        vehicles=stream.vehicles(),
        refused=dict(stream.refused),
    )


def _campaigns(stream: Evaluating) -> Iterable[campaign_pb2.CampaignInForce]:
    for revision in stream.book.newest():
        if revision.running:
            current = {(t.name, t.version) for t in revision.triggers}
            actives = [a.trigger for a in stream.plan.actives if a.campaign == revision.campaign]
            yield campaign_pb2.CampaignInForce(
                campaign=revision.campaign,
                revision=revision.revision,
                triggers={t.name: t.version for t in actives if (t.name, t.version) in current},
            )


async def report(
    stopping: asyncio.Event, stream: Evaluating, channel: grpc.aio.Channel, reporter: str, clock: Clock
) -> None:
    """Reports until ``stopping`` is set. Errors of the keeper are logged once and retried with the next report."""
    stub = campaign_pb2_grpc.CampaignServiceStub(channel)
    plan: Plan | None = None
    partitions: tuple[int, ...] = ()
    reported_ns, unreachable = 0, False
    while not stopping.is_set():
        now_ns, assigned = clock.monotonic_ns(), tuple(stream.assigned())
        changed = plan is not stream.plan or partitions != assigned
        if changed or now_ns - reported_ns > seconds_to_ns(_REPORT_EVERY_S):
            plan, partitions, reported_ns = stream.plan, assigned, now_ns
            try:
                await stub.ReportInForce(report_of(stream, reporter), timeout=_TIMEOUT_S)
                unreachable = False
            except grpc.aio.AioRpcError as error:
                if not unreachable:
                    log.warning("keeper_unreachable", code=error.code().name, detail=error.details())
                unreachable = True
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _CHECK_EVERY_S)
