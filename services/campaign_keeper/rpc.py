"""CampaignService: applies triggers, moves campaigns, shows the ledger."""

from __future__ import annotations

from campaign_keeper import transactions
from campaign_keeper.ports import Drops, Examine
from fleet.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetkit.clock import Clock
from fleetkit.database import Database
from fleetkit.idempotency import answer_once
from fleetkit.rpc import caller, invalid

SERVICE_NAME = "fleet.campaign.v1.CampaignService"
ALLOWED = {f"/{SERVICE_NAME}/*": ("user/*", "service/*")}


class CampaignService(campaign_pb2_grpc.CampaignServiceServicer):
    """See protos/fleet/campaign/v1/campaign.proto for what each call promises."""

    def __init__(self, database: Database, clock: Clock, examine: Examine, drops: Drops) -> None:
        self._database = database
        self._clock = clock
        self._examine = examine
        self._drops = drops

    async def ApplyCampaign(
        self, request: campaign_pb2.ApplyCampaignRequest, context: object
    ) -> campaign_pb2.ApplyCampaignResponse:
        if not request.campaign.campaign:
            raise invalid("campaign.campaign", "give the campaign a name")
        now_ns = self._clock.now_utc_ns()
        if request.dry_run:
            return await self._database.run(lambda tx: transactions.apply(tx, request, now_ns, self._examine))
        key = f"{caller()}:{request.request_id}" if request.request_id else ""
        answer = await self._database.run(
            lambda tx: answer_once(
                tx,
                key,
                "ApplyCampaign",
                now_ns,
                lambda: transactions.apply(tx, request, now_ns, self._examine).SerializeToString(),
            )
        )
        return campaign_pb2.ApplyCampaignResponse.FromString(answer)

    async def SetCampaignState(
        self, request: campaign_pb2.SetCampaignStateRequest, context: object
    ) -> campaign_pb2.SetCampaignStateResponse:
        now_ns = self._clock.now_utc_ns()
        key = f"{caller()}:{request.request_id}" if request.request_id else ""
        answer = await self._database.run(
            lambda tx: answer_once(
                tx,
                key,
                "SetCampaignState",
                now_ns,
                lambda: transactions.set_state(tx, request, now_ns).SerializeToString(),
            )
        )
        return campaign_pb2.SetCampaignStateResponse.FromString(answer)

    async def ListCampaigns(
        self, request: campaign_pb2.ListCampaignsRequest, context: object
    ) -> campaign_pb2.ListCampaignsResponse:
        return campaign_pb2.ListCampaignsResponse(campaigns=await self._database.run(transactions.campaigns))

    async def GetLedger(
        self, request: campaign_pb2.GetLedgerRequest, context: object
    ) -> campaign_pb2.GetLedgerResponse:
        earnings = await self._database.run(lambda tx: transactions.ledger(tx, request.campaign))
        dropped = await self._drops.dropped()
        newest: dict[str, campaign_pb2.TriggerEarnings] = {}
        for entry in earnings:
            if entry.trigger not in newest or entry.version > newest[entry.trigger].version:
                newest[entry.trigger] = entry
        for trigger, entry in newest.items():  # the router counts drops by trigger, not by version
            for reason, firings in dropped.get(trigger, {}).items():
                entry.dropped[reason] = firings
        return campaign_pb2.GetLedgerResponse(earnings=earnings)
