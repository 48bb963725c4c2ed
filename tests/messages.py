"""Messages of every kind at the extremes: of their declared bounds, and of their types."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from fleetloop.kit.bounds import OPTION

M = TypeVar("M", bound=Message)
F = FieldDescriptor
_TEXTS = {
    0: ["x", "é" * 10, "'; DROP TABLE tasks; --", "a b/c:d", "😀", "%s{0}", "x" * 256],
    1: ["a", "stop_sign", "front", "v1", "0" * 64, "A.b-c_d", "9" * 128],
    2: ["0123456789abcdef" * 4, "f" * 64],
    3: ["a", "demo/clips/2026-11-28/a.mcap", "s3://bucket/a", "/a", "a/" * 500 + "b"],
    4: ["x", "line\nline\ttab", "é" * 4096, "'\"\\"],
}
"""Texts that each TextRule accepts, apart from a declared length."""
_WRONG_TEXTS = ["\0", "a\0b", "x" * 5000, "\x1b[31m", "../../etc/passwd", "\u2028"]


def _bounds_of(field: FieldDescriptor) -> Any:
    return next((value for option, value in field.GetOptions().ListFields() if option.full_name == OPTION), None)


def _inside(field: FieldDescriptor, name: str, bounds: Any) -> list[Any]:
    """Values of a scalar field at the ends of its bounds, and some between."""
    if field.type == F.TYPE_STRING:
        rule = bounds.text if bounds is not None else 0
        most = (bounds.max_length if bounds is not None else 0) or 10**6
        return [text for text in _TEXTS[rule] if len(text) <= most]
    if field.type == F.TYPE_BYTES:
        least, most = (bounds.min_length, bounds.max_length) if bounds is not None else (0, 0)
        return [b"\0" * (least or 1), b"\xff" * min(most or 64, 4096), bytes(range(16))]
    if field.type == F.TYPE_BOOL:
        return [False, True]
    if field.type == F.TYPE_ENUM:
        assert field.enum_type is not None
        return sorted(field.enum_type.values_by_number)
    if field.cpp_type in (F.CPPTYPE_DOUBLE, F.CPPTYPE_FLOAT):
        low = bounds.minimum if bounds is not None and bounds.HasField("minimum") else -1.7e308
        high = bounds.maximum if bounds is not None and bounds.HasField("maximum") else 1.7e308
        return sorted({low, high, *(each for each in (0.0, 1.0, 1e-300) if low <= each <= high)})
    low, high = {
        F.CPPTYPE_INT32: (-(2**31), 2**31 - 1), F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
        F.CPPTYPE_UINT32: (0, 2**31 - 1), F.CPPTYPE_UINT64: (0, 2**63 - 1),
    }[field.cpp_type]  # fmt: skip
    if name.endswith("_ns") and field.cpp_type == F.CPPTYPE_INT64:
        low, high = 0, 2**62 - 1
    if bounds is not None and bounds.HasField("minimum"):
        low = int(bounds.minimum)
    if bounds is not None and bounds.HasField("maximum"):
        high = int(bounds.maximum)
    return sorted({low, high, *(each for each in (0, 1, 7, 10**18) if low <= each <= high)})


def _outside(field: FieldDescriptor) -> list[Any]:
    """Values at the extremes of a scalar field's type."""
    if field.type == F.TYPE_STRING:
        return _WRONG_TEXTS
    if field.type == F.TYPE_BYTES:
        return [b"x", b"x" * 5000]
    if field.type == F.TYPE_BOOL:
        return [True]
    extremes: dict[int, list[Any]] = {
        F.CPPTYPE_ENUM: [2**31 - 1, -1], F.CPPTYPE_DOUBLE: [math.nan, math.inf, -math.inf, -1.7e308],
        F.CPPTYPE_INT32: [-(2**31), 2**31 - 1], F.CPPTYPE_INT64: [-(2**63), 2**63 - 1],
        F.CPPTYPE_UINT32: [2**32 - 1], F.CPPTYPE_UINT64: [2**63, 2**64 - 1],
    }  # fmt: skip
    return extremes[field.cpp_type]


def messages(kind: type[M], *, wild: bool = False, most_items: int = 3) -> st.SearchStrategy[M]:
    """Messages of a kind, each field left out or at an extreme: of its bounds, or also of its type when `wild`."""

    def made(draw: st.DrawFn, descriptor: Any, depth: int) -> Message:
        message: Any = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if depth > 3 or draw(st.integers(0, 3)) == 0:
                continue
            entry = field.message_type
            is_map = entry is not None and entry.GetOptions().map_entry
            values = entry.fields_by_name["value"] if is_map else field
            for _ in range(draw(st.integers(1, most_items)) if field.is_repeated else 1):
                value = None
                if values.type != F.TYPE_MESSAGE:
                    bounds = _bounds_of(field)
                    pool = _inside(values, field.name, bounds)
                    if wild and draw(st.integers(0, 9)) == 0:
                        pool = _outside(values)
                    value = draw(st.sampled_from(pool))
                if is_map:
                    key = entry.fields_by_name["key"]
                    keys = ["a", "x" * 128, "é"] if key.type == F.TYPE_STRING else [0, 1]
                    chosen = draw(st.sampled_from(keys))
                    if value is None:
                        getattr(message, field.name)[chosen].CopyFrom(made(draw, values.message_type, depth + 1))
                    else:
                        getattr(message, field.name)[chosen] = value
                elif value is None:
                    inner = made(draw, values.message_type, depth + 1)
                    if field.is_repeated:
                        getattr(message, field.name).append(inner)
                    else:
                        getattr(message, field.name).CopyFrom(inner)
                elif field.is_repeated:
                    getattr(message, field.name).append(value)
                else:
                    setattr(message, field.name, value)
        return message  # type: ignore[no-any-return]

    @st.composite
    def strategy(draw: st.DrawFn) -> M:
        return made(draw, kind.DESCRIPTOR, 0)  # type: ignore[return-value]

    return strategy()
