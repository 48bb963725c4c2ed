"""More than a thousand wrong trigger files, each refused by the server with its field, and with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from campaign_keeper.codec import trigger_of
from campaign_keeper.examination import examiner
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.triggerlang.definition import to_definition
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import parse_trigger

CONFIG = Path(__file__).parents[3] / "config"
EXAMINE = examiner(load_catalogue(CONFIG / "signals.yaml"), load_task_schema(CONFIG / "tasks.yaml"), 60.0)
SHIPPED = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONFIG / "triggers").rglob("*.yaml"))}
Fields = dict[str, Any]
Spoil = Callable[[Fields], Fields | None]
"""A file's fields made wrong, or None where this mistake cannot be made in it."""


def put(**fields: Any) -> Spoil:
    return lambda good: {**good, **fields}


def without(name: str) -> Spoil:
    return lambda good: {key: value for key, value in good.items() if key != name}


def written(pattern: str, instead: str) -> Spoil:
    """The language's text with its first match replaced."""

    def spoil(good: Fields) -> Fields | None:
        texts = {"expression": good["expression"], **good.get("conditions", {})}
        for name, text in sorted(texts.items()):
            spoiled, times = re.subn(pattern, instead, text, count=1)
            if times:
                if name == "expression":
                    return {**good, "expression": spoiled}
                return {**good, "conditions": {**good["conditions"], name: spoiled}}
        return None

    return spoil


MISTAKES: list[tuple[str, Spoil, str, str]] = [
    # (what, how, field, what the message has to say)
    ("misspelt signal", written(r"Vehicle\.Speed", "Vehicle.Sped"), "language", "did you mean `Vehicle.Speed`?"),
    ("unknown signal", written(r"Vehicle\.Speed", "Car.Velocity"), "language", "unknown signal `Car.Velocity`"),
    ("a list as one value", written(r"Vehicle\.Speed", "Radar.Object.Distance"), "language", "use any_track"),
    ("number without a unit", written(r"(?<=\d) km/h", ""), "language", "give the number a unit, such as km/h"),
    ("unit of something else", written(r"(?<=\d) km/h", " m"), "language", "km/h and m cannot be combined"),
    ("unit that does not exist", written(r"(?<=\d) km/h", " kmh"), "language", "kmh"),
    ("window longer than memory", written(r"(?<=, )[\d.]+ s\)", "900 s)"), "language", "more than the 60 s"),
    ("window without a unit", written(r"(?<=, )[\d.]+ s\)", "3)"), "language", "such as `0.5 s`"),
    ("open window", written(r"(?<=, )[\d.]+ s\)", "Vehicle.Speed)"), "language", "must be a constant duration"),
    ("window of nothing", written(r"(?<=, )[\d.]+ s\)", "0 s)"), "language", "must be longer than 0 s"),
    ("window left out", written(r"(?<=\w), [\d.]+ s\)", ")"), "language", "such as `1 s`"),
    ("misspelt function", written(r"\bdebounce\(", "debouce("), "language", "did you mean `debounce`?"),
    ("unknown function", written(r"\b(max|min|any|all)\(", "sum_of("), "language", "unknown function `sum_of`"),
    ("word that an enum lacks", written(r'"(red|none|green|stop_sign|traffic_light)"', '"maroon"'), "language",
     '"maroon" is not a value of the enum'),
    ("single equals sign", written(r"==", "="), "language", "="),
    ("bracket not closed", written(r"$", " and (true"), "language", ")"),
    ("nothing after an and", written(r"$", " and"), "language", "end"),
    ("a language of another kind", put(expression="__import__('os').system('true')"), "language", "line 1"),
    ("a value for a condition", put(expression="Vehicle.Speed + 1 km/h"), "language", "compare it"),
    ("no signal at all", put(expression="1 < 2"), "language", "reads no signal"),
    ("no expression", put(expression="  "), "expression", "write the condition"),
    ("expression that is no text", put(expression=5), "expression", "is not text"),
    ("no name", without("name"), "name", "is missing"),
    ("name in capitals", put(name="Brake"), "name", "lower-case letters"),
    ("no version", without("version"), "version", "whole number of at least 1"),
    ("version 0", put(version=0), "version", "whole number of at least 1"),
    ("mode of another kind", put(mode="sometimes"), "mode", "rising_edge"),
    ("interval of nothing", put(min_interval_s=0), "min_interval_s", "number from 0.1"),
    ("seconds before zero", put(pre_s=-1), "pre_s", "number from 0"),
    ("seconds as text", put(post_s="long"), "post_s", "number from 0"),
    ("priority in halves", put(priority=1.5), "priority", "whole number"),
    ("more than the whole fleet", put(sampling_fraction=2), "sampling_fraction", "number from 0 to 1"),
    ("half a circle", put(geofence={"latitude_deg": 1}), "geofence", "longitude_deg"),
    ("one glob without a list", put(vehicles="car-*"), "vehicles", "list of non-empty texts"),
    ("an end before the beginning", put(**{"from": "2026-02-01", "until": "2026-01-01"}), "until", "must be later"),
    ("a time that is none", put(**{"from": "next week"}), "from", "such as 2026"),
    ("quota below zero", put(quota_labels=-1), "quota_labels", "whole number of at least 0"),
    ("budget as text", put(bytes_per_vehicle_day="200 MB"), "bytes_per_vehicle_day", "whole number"),
    ("camera that no vehicle has", put(cameras=["periscope"]), "cameras", "front_main"),
    ("task that the schema lacks", put(task="bicycle"), "task", "stop_sign"),
    ("evidence that does not exist", put(evidence=["Vehicle.Sped"]), "evidence", "unknown signal `Vehicle.Sped`"),
    ("evidence that is a list", put(evidence=["Radar.Object.Id"]), "evidence", "one number per instant"),
    ("conditions as a list", put(conditions=["a"]), "conditions", "names to expressions"),
    ("a misspelt field", put(expresion="true"), "expresion", "known fields are name, version, expression"),
    ("a description in numbers", put(description=7), "description", "put it in quotes"),
]  # fmt: skip


def refusal(fields: Fields) -> tuple[str, str]:
    """Field and message of why the fields are no trigger, as a file and as the server sees it."""
    try:
        definition = to_definition(parse_trigger(yaml.safe_dump(fields)))
    except TriggerFileError as error:
        return error.field, str(error)
    problems = list(EXAMINE([trigger_of(definition)]))
    assert problems, "it was taken"
    return problems[0].field, problems[0].message


@pytest.mark.parametrize(("spoil", "field", "says"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_refused_by_its_field_with_what_to_do(spoil: Spoil, field: str, says: str) -> None:
    tried = 0
    for good in SHIPPED.values():
        wrong = spoil(good)
        if wrong is None:
            continue
        tried += 1
        named, message = refusal(wrong)
        if field == "language":
            assert named == "expression" or named.startswith("conditions.")
            assert re.search(r"line \d+, column \d+", message), message
            assert re.search(r"^ *\^", message, re.M), "the position is marked"
        else:
            assert named == field
        assert says in message, message
        assert named in message
    assert tried


def test_they_are_more_than_a_thousand() -> None:
    assert sum(spoil(good) is not None for _, spoil, *_ in MISTAKES for good in SHIPPED.values()) > 1000
