"""A text column is as wide as the widest field of its name in any message, so that no accepted field overflows it.

Hypothesis carries messages through the services (tests/security/test_what_is_accepted_can_be_processed.py), but it
finds a column that is too narrow only when it draws a text of that length. SQLite never complains.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

import fleetloop.protos
from fleetloop.kit.bounds import longest_text

SERVICES = Path(__file__).parents[2] / "services"
KEEPING = sorted(path.parent.name for path in SERVICES.glob("*/migrations"))
OTHER_MEANING = {
    "conditions": "the column has those of a vehicle's report, at most 64 characters, the field those of a firing",
    "request_id": "the column has a hash of it",
    "reason": "the router's column has one of its own reasons, all others are Text",
    "stage": "the column has one of the rollout's stages, the field is a training run's progress",
}
"""Columns that share a name with a field, and nothing else."""
UNSTORED = ("fleet.campaign.v1.TriggerProblem.trigger",)
"""They quote what was refused."""


def _text_fields() -> Iterator[tuple[str, int, str]]:
    for module in pkgutil.walk_packages(fleetloop.protos.__path__, "fleetloop.protos."):
        if module.name.endswith("_pb2"):
            for message in importlib.import_module(module.name).DESCRIPTOR.message_types_by_name.values():
                yield from _of_message(message)


def _of_message(message: Descriptor) -> Iterator[tuple[str, int, str]]:
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield field.name, longest_text(field), f"{message.full_name}.{field.name}"
    for nested in message.nested_types:
        yield from _of_message(nested)


def _columns() -> Iterator[tuple[str, int, str]]:
    for package in KEEPING:
        for table in importlib.import_module(f"{package}.store").Base.metadata.tables.values():
            for column in table.columns:
                if isinstance(column.type, sa.String) and column.type.length is not None:
                    yield column.name, column.type.length, f"{package}: {table.name}.{column.name}"


def test_no_field_is_wider_than_the_columns_of_its_name() -> None:
    fields = [each for each in _text_fields() if each[0] not in OTHER_MEANING]
    too_narrow = [
        f"{column} holds {width} characters, {field} may have {longest}"
        for name, width, column in _columns()
        for other, longest, field in fields
        if other == name and longest > width and field not in UNSTORED
    ]
    assert too_narrow == []


def test_there_is_something_to_check() -> None:
    names = {name for name, _, _ in _columns()} & {name for name, _, _ in _text_fields()}
    assert {"trigger", "campaign", "vehicle_id"} <= names
