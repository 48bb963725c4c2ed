"""CampaignService: applies triggers, moves campaigns, shows the ledger."""

from __future__ import annotations

from collections.abc import Callable

from campaign_keeper import queries
from campaign_keeper.codec import (
    applied_message,
    campaign_message,
    campaign_of,
    earnings_messages,
    process_message,
    report_of,
    state_of,
)
from campaign_keeper.core import add_drops
from campaign_keeper.model import Applied
from campaign_keeper.ports import Drops, Examine
from campaign_keeper.transactions import campaigns, reports
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.refusal import InvalidArgumentError
from fleetloop.kit.rpc import RpcServer, caller, request_key
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc

SERVICE_NAME = "fleet.campaign.v1.CampaignService"


class CampaignService(campaign_pb2_grpc.CampaignServiceServicer):
    """See protos/fleet/campaign/v1/campaign.proto for what each call promises."""

    def __init__(
        self, database: Database, clock: Clock, examine: Examine, drops: Drops, second_person: bool = False
    ) -> None:
        """`second_person`: whether the person who approves a campaign must be none of its authors."""
        self._second_person = second_person
        self._database = database
        self._clock = clock
        self._examine = examine
        self._drops = drops

    async def ApplyCampaign(
        self, request: campaign_pb2.ApplyCampaignRequest, context: object
    ) -> campaign_pb2.ApplyCampaignResponse:
        if not request.campaign.campaign:
            raise InvalidArgumentError("give the campaign a name", "campaign.campaign")
        now_ns, by, wanted = self._clock.now_utc_ns(), str(caller()), campaign_of(request.campaign)

        def apply(tx: Transaction) -> Applied:
            return campaigns.apply(tx, wanted, request.dry_run, now_ns, self._examine, by, self._second_person)

        if request.dry_run:
            return applied_message(await self._database.read(apply))
        answer = await self._once(
            "ApplyCampaign", request.request_id, lambda tx: applied_message(apply(tx)).SerializeToString()
        )
        return campaign_pb2.ApplyCampaignResponse.FromString(answer)

    async def SetCampaignState(
        self, request: campaign_pb2.SetCampaignStateRequest, context: object
    ) -> campaign_pb2.SetCampaignStateResponse:
        now_ns, by = self._clock.now_utc_ns(), str(caller())

        def work(tx: Transaction) -> bytes:
            wanted, only_from = state_of(request.state), state_of(request.only_from)
            campaign = campaigns.set_state(
                tx, request.campaign, wanted, only_from, request.reason, now_ns, by, self._second_person
            )
            return campaign_pb2.SetCampaignStateResponse(campaign=campaign_message(campaign)).SerializeToString()

        answer = await self._once("SetCampaignState", request.request_id, work)
        return campaign_pb2.SetCampaignStateResponse.FromString(answer)

    async def ResumeTrigger(
        self, request: campaign_pb2.ResumeTriggerRequest, context: object
    ) -> campaign_pb2.ResumeTriggerResponse:
        now_ns, by = self._clock.now_utc_ns(), str(caller())

        def work(tx: Transaction) -> bytes:
            campaign = campaigns.resume_trigger(
                tx, request.campaign, request.trigger, request.reason, now_ns, by, self._second_person
            )
            return campaign_pb2.ResumeTriggerResponse(campaign=campaign_message(campaign)).SerializeToString()

        answer = await self._once("ResumeTrigger", request.request_id, work)
        return campaign_pb2.ResumeTriggerResponse.FromString(answer)

    async def _once(self, method: str, request_id: str, work: Callable[[Transaction], bytes]) -> bytes:
        """The answer to a change, which is carried out once for a caller's request id."""
        now_ns = self._clock.now_utc_ns()
        key = request_key(request_id)
        return await self._database.run(lambda tx: answer_once(tx, key, method, now_ns, lambda: work(tx)))

    async def ListRevisions(
        self, request: campaign_pb2.ListRevisionsRequest, context: object
    ) -> campaign_pb2.ListRevisionsResponse:
        found = await self._database.read(lambda tx: queries.revisions(tx, request.campaign, request.limit))
        return campaign_pb2.ListRevisionsResponse(revisions=map(campaign_message, found))

    async def ReportInForce(
        self, request: campaign_pb2.ReportInForceRequest, context: object
    ) -> campaign_pb2.ReportInForceResponse:
        if not request.reporter:
            raise InvalidArgumentError("name the process that reports", "reporter")
        report = report_of(request, self._clock.now_utc_ns())
        await self._database.run(lambda tx: reports.record_report(tx, report))
        return campaign_pb2.ReportInForceResponse()

    async def GetInForce(
        self, request: campaign_pb2.GetInForceRequest, context: object
    ) -> campaign_pb2.GetInForceResponse:
        now_ns = self._clock.now_utc_ns()
        processes = await self._database.read(lambda tx: queries.in_force(tx, now_ns))
        return campaign_pb2.GetInForceResponse(processes=map(process_message, processes))

    async def ListCampaigns(
        self, request: campaign_pb2.ListCampaignsRequest, context: object
    ) -> campaign_pb2.ListCampaignsResponse:
        found = await self._database.read(queries.campaigns)
        return campaign_pb2.ListCampaignsResponse(campaigns=map(campaign_message, found))

    async def GetLedger(
        self, request: campaign_pb2.GetLedgerRequest, context: object
    ) -> campaign_pb2.GetLedgerResponse:
        earnings = await self._database.read(lambda tx: queries.ledger(tx, request.campaign))
        add_drops(earnings, await self._drops.dropped())
        return campaign_pb2.GetLedgerResponse(earnings=earnings_messages(earnings))


def add_to(server: RpcServer, service: CampaignService) -> None:
    """Serve the calls of `service`."""
    campaign_pb2_grpc.add_CampaignServiceServicer_to_server(service, server.server)
