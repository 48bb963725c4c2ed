"""Asks the keeper for campaigns, the ledger and what is in force, once for all pages that are open."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc

from fleet_console.campaigns import TriggersView, triggers_view
from fleet_console.peers import Peers
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc

_TIMEOUT_S = 4.0


class Ledger:
    """The newest view; while the keeper is away the last one, with the reason."""

    def __init__(self, peers: Peers, clock: Clock, poll_s: float) -> None:
        channel = peers.channels.get("campaign_keeper")
        self._stub = campaign_pb2_grpc.CampaignServiceStub(channel) if channel is not None else None
        self._clock = clock
        self._poll_ns = seconds_to_ns(poll_s)
        self._view = TriggersView()
        self._asked_ns = -self._poll_ns
        self._asking = asyncio.Lock()

    async def look(self) -> TriggersView:
        """A view that is at most one poll old. Never fails."""
        async with self._asking:
            if self._clock.monotonic_ns() - self._asked_ns >= self._poll_ns:
                self._view = await self._ask()
                self._asked_ns = self._clock.monotonic_ns()
        return self._view

    async def _ask(self) -> TriggersView:
        if self._stub is None:
            return TriggersView(away="no address is set for it")
        try:
            campaigns, ledger, force = await asyncio.gather(
                self._stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(), timeout=_TIMEOUT_S),
                self._stub.GetLedger(campaign_pb2.GetLedgerRequest(), timeout=_TIMEOUT_S),
                self._stub.GetInForce(campaign_pb2.GetInForceRequest(), timeout=_TIMEOUT_S),
            )
        except grpc.aio.AioRpcError as error:
            gone = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return replace(self._view, away="it does not answer" if gone else f"it refuses: {error.details()}")
        return triggers_view(campaigns.campaigns, ledger.earnings, force.processes, self._clock.now_utc_ns())
