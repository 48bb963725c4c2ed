"""Every field of every message has bounds, and a message outside them is refused with the path of the field."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from fleetloop import protos
from fleetloop.kit.bounds import OPTION, OutOfBoundsError, check_bounds
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2

DIGEST = "0f" * 32
Report, Header = health_pb2.VehicleReport, telemetry_pb2.ClipHeader
Origin, Definition = provenance_pb2.Provenance, campaign_pb2.TriggerDefinition


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Report(sequence=2**63), "sequence"),
        (Report(interventions=2**32 - 1), "interventions"),
        (Report(boot_id=b"short"), "boot_id"),
        (Report(boot_id=b"x" * 17), "boot_id"),
        (Report(start_utc_ns=-1), "start_utc_ns"),
        (Report(end_utc_ns=2**62), "end_utc_ns"),
        (Report(model_digest="é"), "model_digest"),
        (Report(model_digest="a" * 80_000), "model_digest"),
        (Report(model_digest=DIGEST.upper()), "model_digest"),
        (Report(vehicle_id="a\0b"), "vehicle_id"),
        (Report(vehicle_id="../etc"), "vehicle_id"),
        (Report(vehicle_id="x" * 129), "vehicle_id"),
        (Report(distance_km=math.nan), "distance_km"),
        (Report(autopilot_km=math.inf), "autopilot_km"),
        (Report(inference_p99_ms=-1), "inference_p99_ms"),
        (Report(faults={f"fault_{n}": 1 for n in range(850)}), "faults"),
        (Report(faults={"x" * 129: 1}), "faults (key)"),
        (Report(faults={"a\0": 1}), "faults (key)"),
        (Report(faults={"a": 2**32 - 1}), "faults[a]"),
        (Header(cameras=["c" * 256] * 64), "cameras[0]"),
        (Header(cameras=["c"] * 65), "cameras"),
        (Header(firing_id="f" * 65), "firing_id"),
        (Header(firing_id="a\0"), "firing_id"),
        (Header(size_bytes=2**63), "size_bytes"),
        (clip_pb2.ClipStored(address="demo/../../etc/passwd"), "address"),
        (clip_pb2.ClipStored(provenance=Origin(trigger_version=2**32 - 1)), "provenance.trigger_version"),
        (trigger_pb2.TriggerFired(place=provenance_pb2.Place(latitude_deg=90.1)), "place.latitude_deg"),
        (trigger_pb2.TriggerFired(evidence={"Vehicle.Speed": math.nan}), "evidence[Vehicle.Speed]"),
        (campaign_pb2.SetCampaignStateRequest(reason="x" * 1_300_000), "reason"),
        (campaign_pb2.SetCampaignStateRequest(reason="a\0"), "reason"),
        (campaign_pb2.SetCampaignStateRequest(state=99), "state"),  # type: ignore[arg-type]
        (campaign_pb2.Campaign(triggers=[Definition(priority=2**31 - 1)]), "triggers[0].priority"),
        (label_pb2.SubmitLabelRequest(answers={"stop_sign": "x" * 257}), "answers[stop_sign]"),
        (label_pb2.LeaseTaskRequest(lease_s=math.inf), "lease_s"),
        (label_pb2.LeaseTaskRequest(request_id="line\nbreak"), "request_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_value_outside_its_bounds_is_refused_with_the_path_of_its_field(message: Message, field: str) -> None:
    with pytest.raises(OutOfBoundsError) as caught:
        check_bounds(message)
    assert caught.value.field == field
    assert len(str(caught.value)) < 400, "an error does not repeat what was too long"


@pytest.mark.parametrize(
    "message",
    [
        Report(),
        Report(sequence=2**63 - 1, boot_id=b"12345678", model_digest=DIGEST, faults={"GPS lost (x)": 3}),
        Header(sha256=DIGEST, firing_id="0f" * 16, cameras=["front", "CAM_FRONT_LEFT", "rear.wide-2"]),
        clip_pb2.ClipStored(address="demo/clips/2026-11-27/" + DIGEST + ".mcap"),
        clip_pb2.ClipStored(address="s3://bucket/demo/clips/a.mcap"),
        clip_pb2.ClipStored(address="file:///var/lib/fleetloop/a_b=c.mcap"),
        campaign_pb2.SetCampaignStateRequest(reason="Bitte prüfen:\n\t1. bei Nacht — «sofort»", request_id="r 1"),
        Definition(expression="max(Vehicle.Speed, 2 s) > 50 km/h\nand not held(x)"),
    ],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_what_people_and_vehicles_really_send_is_accepted(message: Message) -> None:
    check_bounds(message)


def _messages() -> Iterator[Descriptor]:
    """Every message of every proto, also those inside others."""
    for module in pkgutil.walk_packages(protos.__path__, "fleetloop.protos."):
        if module.name.endswith("_pb2"):
            for descriptor in importlib.import_module(module.name).DESCRIPTOR.message_types_by_name.values():
                yield descriptor
                yield from (each for each in descriptor.nested_types if not each.GetOptions().map_entry)


MESSAGES = {descriptor.full_name: descriptor for descriptor in _messages()}
FIELDS = [field for descriptor in MESSAGES.values() for field in descriptor.fields]


def _elsewhere(field: FieldDescriptor) -> bool:
    bounds: Any = next((v for option, v in field.GetOptions().ListFields() if option.full_name == OPTION), None)
    return bounds is not None and bounds.checked_elsewhere


def test_only_what_needs_the_signal_catalogue_is_checked_elsewhere() -> None:
    assert {field.full_name for field in FIELDS if _elsewhere(field)} == {
        "fleet.telemetry.v1.StreamTelemetryRequest.batch",
        "fleet.telemetry.v1.TelemetryBatch.columns",
    }


EXTREMES: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (2**32 - 1,),
    FieldDescriptor.CPPTYPE_UINT64: (2**63, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: (math.nan, math.inf, -math.inf, 1.7e308),
    FieldDescriptor.CPPTYPE_STRING: ("\0", "x" * 1_000_000),
    FieldDescriptor.CPPTYPE_ENUM: (2**31 - 1, -1),
}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.full_name)
def test_every_field_is_bounded_at_the_extremes_of_its_type(field: FieldDescriptor) -> None:
    """A signed integer without a declared bound may have every value, and a double every finite one."""
    if field.cpp_type in (FieldDescriptor.CPPTYPE_MESSAGE, FieldDescriptor.CPPTYPE_BOOL) or _elsewhere(field):
        return
    signed = field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    values = EXTREMES[field.cpp_type]
    if field.type == FieldDescriptor.TYPE_BYTES:
        values = (b"\xff" * (2 * 16 * 1024 * 1024),)
    for value in values:
        if value == 1.7e308 or (signed and not field.name.endswith("_ns")):
            continue
        message = _made(field.containing_type)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
        with pytest.raises(OutOfBoundsError):
            check_bounds(message)


def _made(descriptor: Descriptor | None) -> Any:
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(descriptor)()  # type: ignore[arg-type]


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=200))
def test_any_bytes_are_no_message_or_are_judged_without_another_error(name: str, raw: bytes) -> None:
    message = _made(MESSAGES[name])
    try:
        message.ParseFromString(raw)
        check_bounds(message)
    except OutOfBoundsError as error:
        assert error.field
    except Exception as error:
        assert type(error).__name__ == "DecodeError"
