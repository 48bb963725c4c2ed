"""Checks a message's fields against the bounds that its proto declares (protos/fleet/common/v1/bounds.proto).

A field without declared bounds has those of its type, so that a field that is added later is bounded too. The check
runs where a message comes in (requests of RPCs, records of Kafka) and where an event is made: what one service
accepts, the services behind it can store and compute with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from fleetloop.kit.refusal import InvalidArgumentError

OPTION = "fleet.common.v1.bounds"
"""Full name of the option that declares a field's bounds."""
_LINE, _NAME, _DIGEST, _ADDRESS, _PROSE = range(5)
"""The numbers of TextRule."""
_LENGTHS = {_LINE: 256, _NAME: 128, _DIGEST: 64, _ADDRESS: 1024, _PROSE: 4096}
_PATTERNS = {
    _LINE: re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]*"),
    _NAME: re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"),
    _DIGEST: re.compile(r"[0-9a-f]{64}"),
    _ADDRESS: re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:/?(?!\.\.?(?:/|$))[A-Za-z0-9._=@+~-]+)+/?"),
    _PROSE: re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]*"),
}
_WANTED = {
    _LINE: "use printable characters in one line",
    _NAME: "use letters, digits, '.', '_' and '-', beginning with a letter or a digit",
    _DIGEST: "give 64 lower-case hex digits, a SHA-256",
    _ADDRESS: "give a path of names without '..'",
    _PROSE: "leave out control characters",
}
_MOST_BYTES = 64
_MOST_ITEMS = 1000
_LONGEST_KEY = 128
_LATEST_NS = 2**62 - 1
"""In the year 2116, far from the end of a signed 64-bit number."""
_F = FieldDescriptor
_INTEGER_LIMITS = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT32: (0, 2**31 - 1),
    _F.CPPTYPE_UINT64: (0, 2**63 - 1),
}
_Check = Callable[[Any], str]
"""What is wrong with a value, and the remedy; empty when nothing is."""


class OutOfBoundsError(InvalidArgumentError):
    """A field has a value that is outside its bounds. `field` is its path in the message."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """The bounds of one field."""

    name: str
    check: _Check | None
    """For a scalar, or each item of a list, or each value of a map. None: it is a message."""
    max_items: int = 0
    """0: the field is no list and no map."""
    keys: _Check | None = None
    """For the keys of a map."""


@dataclass(frozen=True, slots=True)
class _Rules:
    by_number: Mapping[int, _Rule | None]
    """None: another check looks at the field."""
    required: Sequence[str]


def check_bounds(message: Message, path: str = "") -> None:
    """Checks every field of a message and of the messages in it. Raises OutOfBoundsError for the first that is wrong.

    `path` is the message's own path, which the error's field begins with.
    """
    rules = _rules_of(message.DESCRIPTOR)
    for field, value in message.ListFields():
        rule = rules.by_number[field.number]
        if rule is not None:
            _check_field(rule, value, f"{path}.{rule.name}" if path else rule.name)
    for name in rules.required:
        if not _is_set(message, name):
            raise OutOfBoundsError("is empty; it has to be set", f"{path}.{name}" if path else name)


def longest_text(field: FieldDescriptor) -> int:
    """Most characters that a text field may have."""
    bounds = _bounds_of(field)
    return _get(bounds, "max_length") or _LENGTHS[_get(bounds, "text") or _LINE]


def _is_set(message: Message, name: str) -> bool:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence:
        return message.HasField(name)
    return bool(getattr(message, name))


def _check_field(rule: _Rule, value: Any, path: str) -> None:
    if not rule.max_items:
        _check_value(rule.check, value, path)
        return
    if len(value) > rule.max_items:
        raise OutOfBoundsError(f"has {len(value)} items, at most {rule.max_items}", path)
    if rule.keys is None:
        for index, item in enumerate(value):
            _check_value(rule.check, item, f"{path}[{index}]")
        return
    for key, item in value.items():
        _check_value(rule.keys, key, f"{path} (key)")
        _check_value(rule.check, item, f"{path}[{key}]")


def _check_value(check: _Check | None, value: Any, path: str) -> None:
    if check is None:
        check_bounds(value, path)
        return
    problem = check(value)
    if problem:
        raise OutOfBoundsError(problem, path)


@cache
def _rules_of(descriptor: Descriptor) -> _Rules:
    by_number: dict[int, _Rule | None] = {}
    required = []
    for field in descriptor.fields:
        bounds = _bounds_of(field)
        by_number[field.number] = None if _get(bounds, "checked_elsewhere") else _rule_of(field, bounds)
        if _get(bounds, "required"):
            required.append(field.name)
    return _Rules(by_number, tuple(required))


def _bounds_of(field: FieldDescriptor) -> Message | None:
    """The declared bounds. The option is found by its name, because this package imports no stubs."""
    return next((value for option, value in field.GetOptions().ListFields() if option.full_name == OPTION), None)


def _get(bounds: Message | None, name: str) -> Any:
    return getattr(bounds, name) if bounds is not None else None


def _rule_of(field: FieldDescriptor, bounds: Message | None) -> _Rule:
    if not field.is_repeated:
        return _Rule(field.name, _check_of(field, field.name, bounds))
    most = _get(bounds, "max_items") or _MOST_ITEMS
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return _Rule(field.name, _check_of(field, field.name, bounds), most)
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    keys = _text(_LINE, 0, _LONGEST_KEY) if key.type == _F.TYPE_STRING else _check_of(key, "key", None)
    return _Rule(field.name, _check_of(value, field.name, bounds), most, keys)


def _check_of(field: FieldDescriptor, name: str, bounds: Message | None) -> _Check | None:
    """The check of one value of a field, or None for a message, whose own fields have bounds."""
    if field.type == _F.TYPE_MESSAGE:
        return None
    least, most = _get(bounds, "min_length") or 0, _get(bounds, "max_length") or 0
    if field.type == _F.TYPE_STRING:
        rule = _get(bounds, "text") or _LINE
        return _text(rule, least, most or _LENGTHS[rule])
    if field.type == _F.TYPE_BYTES:
        return _length(least, most or _MOST_BYTES)
    if field.type == _F.TYPE_BOOL:
        return lambda value: ""
    if field.type == _F.TYPE_ENUM:
        return _enum(field.enum_type)
    minimum = bounds.minimum if bounds is not None and bounds.HasField("minimum") else None  # type: ignore[attr-defined]
    maximum = bounds.maximum if bounds is not None and bounds.HasField("maximum") else None  # type: ignore[attr-defined]
    if field.cpp_type in (_F.CPPTYPE_DOUBLE, _F.CPPTYPE_FLOAT):
        return _number(-math.inf if minimum is None else minimum, math.inf if maximum is None else maximum)
    low, high = _INTEGER_LIMITS[field.cpp_type]
    if name.endswith("_ns") and field.cpp_type == _F.CPPTYPE_INT64:
        low, high = 0, _LATEST_NS
    return _integer(low if minimum is None else int(minimum), high if maximum is None else int(maximum))


def _enum(kind: Any) -> _Check:
    known = frozenset(kind.values_by_number)
    return lambda value: "" if value in known else f"{value} is no value of {kind.name}"


def _text(rule: int, least: int, most: int) -> _Check:
    matches, wanted = _PATTERNS[rule].fullmatch, _WANTED[rule]

    def check(value: str) -> str:
        if len(value) > most:
            return f"has {len(value)} characters, at most {most}"
        if value and len(value) < least:
            return f"has {len(value)} characters, at least {least}"
        return "" if not value or matches(value) else f"{wanted}, not {value[:40]!r}"

    return check


def _length(least: int, most: int) -> _Check:
    def check(value: bytes) -> str:
        if len(value) > most or (value and len(value) < least):
            return f"has {len(value)} bytes; send {least} to {most}"
        return ""

    return check


def _integer(low: int, high: int) -> _Check:
    return lambda value: "" if low <= value <= high else f"{value} is not between {low} and {high}"


def _number(low: float, high: float) -> _Check:
    def check(value: float) -> str:
        if not math.isfinite(value):
            return f"{value} is not a finite number"
        return "" if low <= value <= high else f"{value:g} is not between {low:g} and {high:g}"

    return check
