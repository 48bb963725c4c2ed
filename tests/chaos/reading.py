"""Reads every stage of a running system for the oracle. What cannot be read is said to be so, and never passes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import grpc
import lance
import sqlalchemy as sa
from aiokafka.errors import KafkaError
from google.protobuf.message import DecodeError
from tests.chaos.history import SUMMED, History
from tests.chaos.observed import Archived, Earnings, Fired, Observed, Routed
from tests.chaos.system import CAMPAIGN, TRIGGERS, System
from tests.chaos.topics import Said, TopicLog
from tests.chaos.vehicle import batch_id, content_digest

from fleetloop.domain.archive_files import list_files, read_file
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.protos.monitor.v1 import monitor_pb2, monitor_pb2_grpc

_TIMEOUT_S = 10.0
_BACKTEST_S = 300.0


class StageReader:
    """Reads the stages of one system. Parquet files never change, so each is read once."""

    def __init__(self, system: System, history: History) -> None:
        self._system = system
        self._topics = TopicLog(system.bootstrap_servers, lambda mark: mark in {p.mark for p in history.planted})
        self._objects = Objects(system.run.layout.objects.as_uri())
        self._files: dict[str, list[Archived]] = {}
        self._computed: tuple[int, list[Fired]] | None = None

    async def read(self, *, compute: bool) -> Observed:
        """Return what all stages hold now; with `compute`, which is slow, also what the core fires in one go."""
        unreadable: dict[str, str] = {}

        async def attempt(stage: str, work: Callable[[], Awaitable[Any]]) -> Any:
            try:
                return await work()
            except (
                grpc.aio.AioRpcError,
                KafkaError,
                sa.exc.SQLAlchemyError,
                OSError,
                ValueError,
                DecodeError,
            ) as error:
                unreadable[stage] = f"{type(error).__name__}: {str(error)[:200]}"
                return None

        said: Said | None = await attempt("topics", self._topics.read_on)
        archived = await attempt("archive", lambda: asyncio.to_thread(self.archived))
        computed = await attempt("detector", lambda: asyncio.to_thread(self.computed)) if compute else None
        routed = await attempt("router", lambda: asyncio.to_thread(self.routed))
        sums = await attempt("monitor", self.sums)
        ledger = await attempt("ledger", self.ledger)
        added = await attempt("curator", lambda: asyncio.to_thread(self.added))
        refused = await attempt("curator's log", lambda: asyncio.to_thread(self.refused))
        seen = Observed(
            archived=archived,
            computed=computed,
            routed=routed,
            added=added,
            refused=refused,
            sums=sums,
            ledger=ledger,
            unreadable=unreadable,
        )
        if said is None:
            return seen
        fields = {name: getattr(seen, name) for name in Observed.__dataclass_fields__}
        return Observed(
            **{
                **fields,
                "fired": list(said.fired),
                "clips": dict(said.clips),
                "clip_of": dict(said.clip_of),
                "tasks": dict(said.tasks),
                "ended": list(said.ended),
                "kept": said.kept(),
                "dead_letters": list(said.dead_letters),
            }
        )

    def archived(self) -> list[Archived]:
        """The batches in all files, a batch that is in two of them twice."""
        for address in list_files(self._objects, self._system.fleet_id):
            if address not in self._files:
                self._files[address] = [
                    Archived(batch_id(each.vehicle_id, each.boot_id, each.sequence), content_digest(each))
                    for _, each in read_file(self._objects, address)
                ]
        return [each for batches in self._files.values() for each in batches]

    def computed(self) -> list[Fired]:
        """The firings that the detector's core finds in one go over the archive."""
        if self._computed is not None and self._computed[0] == len(self._files):
            return self._computed[1]
        request = {
            "objects_url": self._system.run.layout.objects.as_uri(),
            "fleet_id": self._system.fleet_id,
            "signals": str(self._system.config / "signals.yaml"),
            "campaigns": {CAMPAIGN: list(TRIGGERS)},
        }
        files = len(self._files)
        done = subprocess.run(
            [sys.executable, "-m", "trigger_detector.backtest"],
            input=json.dumps(request), capture_output=True, text=True, timeout=_BACKTEST_S, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode != 0 or not lines or "done" not in lines[-1]:
            raise ValueError(f"the backtest exited with {done.returncode}: {done.stderr[-500:]}")
        found = [each["firing"] for each in lines if "firing" in each]
        firings = [
            Fired(each["firing_id"], each["trigger"], each["version"], each["vehicle"], each["onset_monotonic_ns"])
            for each in found
        ]
        self._computed = (files, firings)
        return firings

    def routed(self) -> list[Routed]:
        """Every decision in the router's database."""
        rows = self._select("label_router", "select firing_id, progress, task_id from firings")
        return [Routed(*row) for row in rows]

    def added(self) -> list[str]:
        """Sample ids of all rows of all dataset tables. Raises ValueError while samples wait for a commit."""
        waiting = self._select("dataset_curator", "select count(*) from waiting")[0][0]
        if waiting:
            raise ValueError(f"{waiting} samples wait for a commit")
        found = []
        for path in sorted((self._system.run.layout.objects / self._system.fleet_id / "datasets").glob("*.lance")):
            found += lance.dataset(str(path)).to_table(columns=["sample_id"])["sample_id"].to_pylist()
        return found

    def refused(self) -> frozenset[str]:
        """Samples that the curator says it refused. Only its log has them when a commit would have had no others."""
        found = set()
        log = self._system.run.supervisor.log_path("dataset_curator")
        for path in sorted(log.parent.glob(f"{log.name}*")):
            for line in path.read_text(errors="replace").splitlines():
                if '"sample_refused"' in line:
                    found.add(json.loads(line[line.index("{") :])["sample_id"])
        return frozenset(found)

    async def sums(self) -> dict[str, Fraction]:
        """The monitor's sums over the run's reports."""
        async with self._channel("fleet_monitor") as channel:
            request = monitor_pb2.CompareCohortsRequest(rollout_id=self._system.rollout_id)
            answer = await monitor_pb2_grpc.MonitorServiceStub(channel).CompareCohorts(request, timeout=_TIMEOUT_S)
        return {
            name: sum((Fraction(getattr(row, name)) for row in answer.cohorts), Fraction(0))
            for name in (*SUMMED, "reports")
        }

    async def ledger(self) -> Earnings:
        """The keeper's ledger."""
        async with self._channel("campaign_keeper") as channel:
            stub = campaign_pb2_grpc.CampaignServiceStub(channel)
            answer = await stub.GetLedger(campaign_pb2.GetLedgerRequest(), timeout=_TIMEOUT_S)
        counts: Counter[tuple[str, int, str]] = Counter()
        for row in answer.earnings:
            for counter in ("fired", "clips", "tasks", "labelled", "kept"):
                counts[row.trigger, row.version, counter] += getattr(row, counter)
        return counts

    def _channel(self, service: str) -> grpc.aio.Channel:
        credentials = self._system.run.fleet.credentials()
        return open_channel(service, self._system.address(service), credentials.ca, credentials.cert, credentials.key)

    def _select(self, service: str, query: str) -> list[Any]:
        engine = sa.create_engine(self._system.database_url(service))
        try:
            with engine.connect() as connection:
                return list(connection.execute(sa.text(query)))
        finally:
            engine.dispose()


def write_observed(path: Path, seen: Observed) -> None:
    """Write what was observed beside the history, for a person who looks into a finding."""
    fields = asdict(seen)
    for name in ("ledger", "kept"):
        fields[name] = {str(key): value for key, value in (fields[name] or {}).items()}
    path.write_text(json.dumps(fields, default=str, indent=1) + "\n")
