"""A trigger as a file: what to notice, how often, and what to ask of the vehicle then.

The same reader serves the command line, the keeper that owns triggers and whoever backtests one, so that a
file that one of them accepts is accepted by all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any

import yaml

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.triggerlang.errors import ExpressionError, TriggerFileError
from fleetloop.triggerlang.program import Condition, check

RISING_EDGE, ALWAYS = "rising_edge", "always"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PATH_WORDS = ("true", "false", "and", "or", "not")


@dataclass(frozen=True, slots=True)
class Geofence:
    """A circle on the ground."""

    latitude_deg: float
    longitude_deg: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class Trigger:
    """One version of one trigger."""

    name: str
    version: int
    expression: str
    mode: str = RISING_EDGE
    """``rising_edge``: once, when false turns true. ``always``: once in every minimum interval while true."""
    min_interval_s: float = 10.0
    """At most one firing per vehicle in each slot of this many seconds of event time."""
    pre_s: float = 5.0
    post_s: float = 5.0
    cameras: tuple[str, ...] = ()
    priority: int = 0
    sampling_fraction: float = 1.0
    geofence: Geofence | None = None
    vehicles: tuple[str, ...] = ()
    """Globs over vehicle ids; none means all."""
    from_utc_ns: int = 0
    until_utc_ns: int = 0
    """0: no end."""
    quota_labels: int = 0
    """Finish after this many accepted labels; 0: never."""
    bytes_per_vehicle_day: int = 0
    """0: no limit."""
    project_hint: str = ""
    task: str = ""
    description: str = ""
    conditions: tuple[tuple[str, str], ...] = ()
    """Named conditions that the expression may use; a firing says which of them held."""
    evidence: tuple[str, ...] = ()
    """Signals whose values at the onset a firing reports."""

    def condition(self) -> Condition:
        """What is to be compiled."""
        named = dict(self.conditions)
        return Condition(self.name, self.expression, named, self.evidence, self.geofence is not None)


def check_trigger(trigger: Trigger, catalogue: SignalCatalogue, memory_s: float) -> None:
    """Raises ``TriggerFileError`` naming the field when the trigger's expressions cannot be used."""
    for name, source in trigger.conditions:
        if name in catalogue or "." in name or name in _PATH_WORDS or not name.isidentifier():
            raise TriggerFileError(f"conditions.{name}", "is no usable name: a word that is not a signal")
        try:
            others = {other: text for other, text in trigger.conditions if other != name}
            check(source, others, catalogue, memory_s)
        except ExpressionError as error:
            raise TriggerFileError(f"conditions.{name}", str(error)) from None
    for path in trigger.evidence:
        if path not in catalogue:
            raise TriggerFileError("evidence", f"unknown signal `{path}`")
        if catalogue[path].ragged or catalogue[path].kind == "string":
            raise TriggerFileError("evidence", f"`{path}` is no plain signal with one number per instant")
    try:
        check(trigger.expression, dict(trigger.conditions), catalogue, memory_s)
    except ExpressionError as error:
        raise TriggerFileError("expression", str(error)) from None


def parse_trigger(text: str) -> Trigger:
    """A trigger from its YAML text. Raises ``TriggerFileError`` naming the field and the remedy.

    The expression is not looked into here; ``check_trigger`` does, against a catalogue.
    """
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TriggerFileError("file", f"not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise TriggerFileError("file", "expected a mapping with at least name, version and expression")
    return trigger_from(raw)


def trigger_from(raw: Mapping[Any, Any]) -> Trigger:
    """A trigger from a parsed mapping. Raises ``TriggerFileError``."""
    known = [f.name for f in fields(Trigger)]
    named = {"from": "from_utc_ns", "until": "until_utc_ns"}
    unknown = [k for k in raw if not isinstance(k, str) or (k not in known and k not in named)]
    if unknown:
        raise TriggerFileError(str(unknown[0]), f"unknown field; known are {', '.join([*known, *named])}")
    name = _text(raw, "name")
    if not _NAME.fullmatch(name):
        raise TriggerFileError("name", f"{name!r} must be lower-case letters, digits and _, beginning with a letter")
    mode = _text(raw, "mode", RISING_EDGE)
    if mode not in (RISING_EDGE, ALWAYS):
        raise TriggerFileError("mode", f"{mode!r} is neither {RISING_EDGE} nor {ALWAYS}")
    expression = _text(raw, "expression")
    if not expression.strip():
        raise TriggerFileError("expression", "is empty: write the condition that the trigger waits for")
    from_ns, until_ns = _instant(raw, "from"), _instant(raw, "until")
    if until_ns and until_ns <= from_ns:
        raise TriggerFileError("until", "is not after `from`")
    return Trigger(
        name=name,
        version=_whole(raw, "version", None, 1),
        expression=expression,
        mode=mode,
        min_interval_s=_number(raw, "min_interval_s", 10.0, 0.1, 86400.0),
        pre_s=_number(raw, "pre_s", 5.0, 0.0, 300.0),
        post_s=_number(raw, "post_s", 5.0, 0.0, 300.0),
        cameras=_words(raw, "cameras"),
        priority=_whole(raw, "priority", 0, -1000),
        sampling_fraction=_number(raw, "sampling_fraction", 1.0, 0.0, 1.0),
        geofence=_geofence(raw.get("geofence")),
        vehicles=_words(raw, "vehicles"),
        from_utc_ns=from_ns,
        until_utc_ns=until_ns,
        quota_labels=_whole(raw, "quota_labels", 0, 0),
        bytes_per_vehicle_day=_whole(raw, "bytes_per_vehicle_day", 0, 0),
        project_hint=_text(raw, "project_hint", ""),
        task=_text(raw, "task", ""),
        description=_text(raw, "description", ""),
        conditions=_conditions(raw.get("conditions")),
        evidence=_words(raw, "evidence"),
    )


def _text(raw: Mapping[Any, Any], field: str, default: str | None = None) -> str:
    value = raw.get(field, default)
    if value is None:
        raise TriggerFileError(field, "is missing")
    if not isinstance(value, str):
        raise TriggerFileError(field, f"{value!r} is not text; put it in quotes")
    return value


def _number(raw: Mapping[Any, Any], field: str, default: float, least: float, most: float) -> float:
    value = raw.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise TriggerFileError(field, f"{value!r} is not a number from {least:g} to {most:g}")
    return float(value)


def _whole(raw: Mapping[Any, Any], field: str, default: int | None, least: int) -> int:
    value = raw.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31 * 1024:
        raise TriggerFileError(field, f"{value!r} is not a whole number from {least} on")
    return value


def _words(raw: Mapping[Any, Any], field: str) -> tuple[str, ...]:
    value = raw.get(field)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise TriggerFileError(field, f"{value!r} is not a list of words")
    return tuple(value)


def _conditions(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    pairs = value.items() if isinstance(value, dict) else [(None, None)]
    if not all(isinstance(k, str) and isinstance(v, str) for k, v in pairs):
        raise TriggerFileError("conditions", "expected names, each with an expression as text")
    return tuple(sorted(value.items()))


def _geofence(value: Any) -> Geofence | None:
    if value is None:
        return None
    wanted = [f.name for f in fields(Geofence)]
    if not isinstance(value, dict) or sorted(map(str, value)) != sorted(wanted):
        raise TriggerFileError("geofence", f"expected {', '.join(wanted)}")
    return Geofence(
        _number(value, "latitude_deg", 0, -90, 90),
        _number(value, "longitude_deg", 0, -180, 180),
        _number(value, "radius_m", 0, 1, 2e7),
    )


def _instant(raw: Mapping[Any, Any], field: str) -> int:
    value = raw.get(field, raw.get(f"{field}_utc_ns"))
    if value is None:
        return 0
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise TriggerFileError(field, f"{value!r} is not a time such as 2026-11-21T08:00:00Z") from None
    if type(value) is date:
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return seconds_to_ns(int(moment.timestamp())) + moment.microsecond * 1000
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TriggerFileError(field, f"{value!r} is not a time such as 2026-11-21T08:00:00Z")
    return value
