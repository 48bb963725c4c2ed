"""Tells the keeper what this process really evaluates, at every change and every few seconds.

What was asked for is the keeper's to know; whether it runs is only known here. Reports are a courtesy: while the
keeper is away the detector goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import grpc

from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from trigger_detector.campaigns import CampaignBook
from trigger_detector.in_force import in_force
from trigger_detector.plan import Plan

_LOOK_EVERY_S = 0.5
_REPORT_EVERY_S = 10.0
_TIMEOUT_S = 5.0
log = get_logger(__name__)


class Evaluating(Protocol):
    """What there is to report of a stream."""

    book: CampaignBook
    plan: Plan
    refused: Mapping[str, str]
    """Triggers that cannot run here, with the reason."""

    def assigned(self) -> Sequence[int]:
        """Partitions that this process reads."""
        ...

    def vehicles(self) -> int:
        """Vehicles with state."""
        ...


def report_of(stream: Evaluating, reporter: str) -> campaign_pb2.ReportInForceRequest:
    """What a process has in force now."""
    return campaign_pb2.ReportInForceRequest(
        reporter=reporter,
        campaigns=[
            campaign_pb2.CampaignInForce(campaign=each.campaign, revision=each.revision, triggers=each.triggers)
            for each in in_force(stream.book, stream.plan)
        ],
        partitions=stream.assigned(),
        vehicles=stream.vehicles(),
        refused=dict(stream.refused),
    )


async def report(
    stopping: asyncio.Event, stream: Evaluating, channel: grpc.aio.Channel, reporter: str, clock: Clock
) -> None:
    """Reports until told to stop; never fails."""
    stub = campaign_pb2_grpc.CampaignServiceStub(channel)
    plan: Plan | None = None
    partitions: tuple[int, ...] = ()
    told_ns, away = 0, False
    while not stopping.is_set():
        now_ns, assigned = clock.monotonic_ns(), tuple(stream.assigned())
        changed = plan is not stream.plan or partitions != assigned
        if changed or now_ns - told_ns > seconds_to_ns(_REPORT_EVERY_S):
            plan, partitions, told_ns = stream.plan, assigned, now_ns
            try:
                await stub.ReportInForce(report_of(stream, reporter), timeout=_TIMEOUT_S)
                away = False
            except grpc.aio.AioRpcError as error:
                if not away:
                    log.warning("keeper_away", code=error.code().name, detail=error.details())
                away = True  # it hears of it when the next report is due
        await pause(stopping, _LOOK_EVERY_S)
