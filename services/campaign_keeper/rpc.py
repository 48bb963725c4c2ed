"""CampaignService: applies triggers, moves campaigns, shows the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from campaign_keeper import reports, transactions
from campaign_keeper.ledger import ledger
from campaign_keeper.ports import Drops, Examine
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.refusal import InvalidArgumentError
from fleetloop.kit.rpc import caller
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc

SERVICE_NAME = "fleet.campaign.v1.CampaignService"
_CHANGING = ("ApplyCampaign", "SetCampaignState", "ResumeTrigger")
_READING = ("ListCampaigns", "ListRevisions", "GetInForce", "GetLedger")
ALLOWED: Mapping[str, Sequence[str]] = {
    **{f"/{SERVICE_NAME}/{method}": ("user/*", "service/fleet-console") for method in _CHANGING},
    **{f"/{SERVICE_NAME}/{method}": ("user/*", "service/*") for method in _READING},
    f"/{SERVICE_NAME}/ReportInForce": ("service/trigger-detector",),
}
"""Services read; people change, and the page that they do it on."""


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
            raise InvalidArgumentError("give the campaign a name", "campaign.campaign")
        now_ns, by = self._clock.now_utc_ns(), str(caller())
        if request.dry_run:
            return await self._database.read(lambda tx: transactions.apply(tx, request, now_ns, self._examine, by))
        answer = await self._once(
            "ApplyCampaign",
            request.request_id,
            lambda tx: transactions.apply(tx, request, now_ns, self._examine, by).SerializeToString(),
        )
        return campaign_pb2.ApplyCampaignResponse.FromString(answer)

    async def SetCampaignState(
        self, request: campaign_pb2.SetCampaignStateRequest, context: object
    ) -> campaign_pb2.SetCampaignStateResponse:
        now_ns, by = self._clock.now_utc_ns(), str(caller())
        answer = await self._once(
            "SetCampaignState",
            request.request_id,
            lambda tx: transactions.set_state(tx, request, now_ns, by).SerializeToString(),
        )
        return campaign_pb2.SetCampaignStateResponse.FromString(answer)

    async def ResumeTrigger(
        self, request: campaign_pb2.ResumeTriggerRequest, context: object
    ) -> campaign_pb2.ResumeTriggerResponse:
        now_ns, by = self._clock.now_utc_ns(), str(caller())
        answer = await self._once(
            "ResumeTrigger",
            request.request_id,
            lambda tx: transactions.resume_trigger(tx, request, now_ns, by).SerializeToString(),
        )
        return campaign_pb2.ResumeTriggerResponse.FromString(answer)

    async def _once(self, method: str, request_id: str, work: Callable[[Transaction], bytes]) -> bytes:
        """The answer of a change, carried out once for a caller's request id."""
        now_ns = self._clock.now_utc_ns()
        key = f"{caller()}:{request_id}" if request_id else ""
        return await self._database.run(lambda tx: answer_once(tx, key, method, now_ns, lambda: work(tx)))

    async def ListRevisions(
        self, request: campaign_pb2.ListRevisionsRequest, context: object
    ) -> campaign_pb2.ListRevisionsResponse:
        found = await self._database.read(lambda tx: transactions.revisions(tx, request.campaign, request.limit))
        return campaign_pb2.ListRevisionsResponse(revisions=found)

    async def ReportInForce(
        self, request: campaign_pb2.ReportInForceRequest, context: object
    ) -> campaign_pb2.ReportInForceResponse:
        if not request.reporter:
            raise InvalidArgumentError("say which process speaks", "reporter")
        now_ns = self._clock.now_utc_ns()
        await self._database.run(lambda tx: reports.note_report(tx, request, now_ns))
        return campaign_pb2.ReportInForceResponse()

    async def GetInForce(
        self, request: campaign_pb2.GetInForceRequest, context: object
    ) -> campaign_pb2.GetInForceResponse:
        now_ns = self._clock.now_utc_ns()
        processes = await self._database.read(lambda tx: reports.in_force(tx, now_ns))
        return campaign_pb2.GetInForceResponse(processes=processes)

    async def ListCampaigns(
        self, request: campaign_pb2.ListCampaignsRequest, context: object
    ) -> campaign_pb2.ListCampaignsResponse:
        return campaign_pb2.ListCampaignsResponse(campaigns=await self._database.read(transactions.campaigns))

    async def GetLedger(
        self, request: campaign_pb2.GetLedgerRequest, context: object
    ) -> campaign_pb2.GetLedgerResponse:
        earnings = await self._database.read(lambda tx: ledger(tx, request.campaign))
        dropped = await self._drops.dropped()
        newest: dict[str, campaign_pb2.TriggerEarnings] = {}
        for entry in earnings:
            if entry.trigger not in newest or entry.version > newest[entry.trigger].version:
                newest[entry.trigger] = entry
        for trigger, entry in newest.items():  # the router counts drops by trigger, not by version
            for reason, firings in dropped.get(trigger, {}).items():
                entry.dropped[reason] = firings
        return campaign_pb2.GetLedgerResponse(earnings=earnings)
