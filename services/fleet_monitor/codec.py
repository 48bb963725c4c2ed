"""Converts reports from protobuf, records to and from compressed JSON, and sums to protobuf."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields, replace
from typing import Any

from fleet_monitor.core import window_start
from fleet_monitor.model import Report, SumKey, Sums, VehicleRecord
from fleetloop.domain.rates import rate_interval
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2


def report_of(message: health_pb2.VehicleReport, window_s: float, seen_at_utc_ns: int) -> Report:
    """A VehicleReport as a value. It belongs to the window in which it began."""
    return Report(
        boot=message.boot_id.hex(),
        sequence=message.sequence,
        where=SumKey(
            model_digest=message.model_digest,
            shadow_model_digest=message.shadow_model_digest,
            rollout_id=message.rollout_id,
            cohort=message.cohort,
            window_start_utc_ns=window_start(message.start_utc_ns, window_s),
        ),
        sums=Sums(
            autopilot_km=message.autopilot_km,
            interventions=message.interventions,
            map_disagreements=message.map_disagreements,
            flickers=message.flickers,
            shadow_frames=message.shadow_frames,
            shadow_disagreements=message.shadow_disagreements,
            would_have_prevented=message.shadow_would_have_prevented,
            false_alarms=message.shadow_false_alarms,
            inferences=message.inferences,
            inference_p99_ms_max=message.inference_p99_ms,
            reports=1,
            faults=dict(message.faults),
        ),
        end_utc_ns=message.end_utc_ns,
        seen_at_utc_ns=seen_at_utc_ns,
    )


def to_bytes(record: VehicleRecord) -> bytes:
    """A record as compressed JSON, for the changelog of the table.

    The windows of a vehicle that drives around the clock are thousands and similar; uncompressed they exceed the size
    of a message.
    """
    text = json.dumps(
        {
            "boot": record.boot,
            "sequence": record.sequence,
            "earlier": dict(record.earlier),
            "latest": astuple(record.latest) if record.latest else None,
            "reported_until_utc_ns": record.reported_until_utc_ns,
            "seen_at_utc_ns": record.seen_at_utc_ns,
            "past": {str(day): b64encode(digests).decode() for day, digests in record.past.items()},
            "windows": [[_values(where), _values(sums)] for where, sums in record.windows.items()],
        }
    )
    return zlib.compress(text.encode(), 1)


_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in (SumKey, Sums)}


def _values(row: SumKey | Sums) -> list[object]:
    """The values of a row in the order of its fields. dataclasses.astuple is slower, because it copies deeply."""
    return [getattr(row, name) for name in _FIELDS[type(row)]]


def _where(raw: Mapping[str, Any] | Sequence[Any]) -> SumKey:
    return SumKey(**raw) if isinstance(raw, Mapping) else SumKey(*raw)


def _sums(raw: Mapping[str, Any] | Sequence[Any]) -> Sums:
    return Sums(**raw) if isinstance(raw, Mapping) else Sums(*raw)


def from_bytes(raw: bytes) -> VehicleRecord:
    """Reads what to_bytes has written, including older formats: named values, uncompressed, without arrivals.

    Windows without an arrival get that of the vehicle's newest report.
    """
    content = json.loads(raw if raw.startswith(b"{") else zlib.decompress(raw))
    seen_at_utc_ns = content["seen_at_utc_ns"]
    return VehicleRecord(
        boot=content["boot"],
        sequence=content["sequence"],
        earlier=content["earlier"],
        latest=_where(content["latest"]) if content["latest"] else None,
        reported_until_utc_ns=content["reported_until_utc_ns"],
        seen_at_utc_ns=seen_at_utc_ns,
        windows={_where(where): _arrived(_sums(sums), seen_at_utc_ns) for where, sums in content["windows"]},
        past={int(day): b64decode(digests) for day, digests in content.get("past", {}).items()},
    )


def _arrived(sums: Sums, seen_at_utc_ns: int) -> Sums:
    return sums if sums.added_at_utc_ns else replace(sums, added_at_utc_ns=seen_at_utc_ns)


def totals_of(where: SumKey, sums: Sums, vehicles: int) -> monitor_pb2.CohortTotals:
    """Sums as the RPC returns them; the rate comes with its exact Poisson interval."""
    low, high = rate_interval(sums.interventions, sums.autopilot_km / 100)
    return monitor_pb2.CohortTotals(
        model_digest=where.model_digest,
        shadow_model_digest=where.shadow_model_digest,
        cohort=health_pb2.Cohort.ValueType(where.cohort),
        rollout_id=where.rollout_id,
        vehicles=vehicles,
        autopilot_km=sums.autopilot_km,
        interventions=sums.interventions,
        interventions_per_100km=100 * sums.interventions / sums.autopilot_km if sums.autopilot_km else 0.0,
        interventions_per_100km_low=low,
        interventions_per_100km_high=high,
        shadow_frames=sums.shadow_frames,
        shadow_disagreements=sums.shadow_disagreements,
        shadow_would_have_prevented=sums.would_have_prevented,
        shadow_false_alarms=sums.false_alarms,
        flickers=sums.flickers,
        map_disagreements=sums.map_disagreements,
        inferences=sums.inferences,
        inference_p99_ms_max=sums.inference_p99_ms_max,
        faults=dict(sums.faults),
        reports=sums.reports,
    )
