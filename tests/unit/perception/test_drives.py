"""Models drive the same roads, and watch the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.perception.nets import RECIPE
from tests.unit.perception.nets import SCHEMA as OTHER_SCHEMA

from fleetloop.domain.tasks import load_task_schema
from fleetloop.shipped import config_folder
from fleetloop.worlds.world import Fleet
from perception.drives import drive, watch, world_of
from perception.examination.closed_loop import Event, Road
from perception.examination.plan import ClosedLoop, ExaminationPlanError
from perception.export import export
from perception.model import Net

SCHEMA = load_task_schema(config_folder() / "tasks.yaml")
PLAN = ClosedLoop(world="town", vehicles=6, seconds=40)


def fleet() -> Fleet:
    world = world_of(PLAN, SCHEMA)
    assert world is not None
    return world()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """A model that gives every sign the same logit, whatever it sees."""

    def made(logit: float) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"logit-{logit}"
        if not folder.exists():
            net = Net(SCHEMA, RECIPE)
            with torch.no_grad():
                for name in ("stop_sign__is_sign", "stop_sign__applies"):
                    net.head.outputs[name].weight.zero_()
                    net.head.outputs[name].bias.fill_(logit)
            export(net, SCHEMA, {"schema_version": SCHEMA.version}, folder)
        return folder

    return made


def stretches(road: Road, event: Event) -> int:
    return sum(event in events for events in road.events.values())


def test_a_mute_model_misses_stops_and_one_that_always_stops_makes_needless_ones(
    model: Callable[[float], Path],
) -> None:
    mute, always = (drive(fleet(), model(logit), SCHEMA, PLAN) for logit in (-8.0, 8.0))
    assert stretches(mute, Event.MISSED_STOP) > 0 == stretches(mute, Event.NEEDLESS_STOP)
    assert stretches(always, Event.NEEDLESS_STOP) > 0 == stretches(always, Event.MISSED_STOP)
    assert mute.autopilot_km > 0


def test_a_drive_with_the_same_model_is_the_same(model: Callable[[float], Path]) -> None:
    assert drive(fleet(), model(-8.0), SCHEMA, PLAN) == drive(fleet(), model(-8.0), SCHEMA, PLAN)


def test_models_watch_the_same_sequences(model: Callable[[float], Path]) -> None:
    never, always = (watch(fleet(), model(logit), SCHEMA, PLAN) for logit in (-8.0, 8.0))
    assert never.keys() == always.keys() == {"stop_sign", "lead_vehicle"}
    signs = list(zip(never["stop_sign"], always["stop_sign"], strict=True))
    assert len(signs) > 10 and all(np.array_equal(one, ~two) for one, two in signs)
    assert {bool(one[0]) for one, _ in signs} == {True, False}, "streets with a sign and without"


def test_a_world_that_does_not_know_the_tasks_is_refused() -> None:
    with pytest.raises(ExaminationPlanError, match="town does not fit config"):
        world_of(PLAN, OTHER_SCHEMA)
    assert world_of(ClosedLoop(world="none"), OTHER_SCHEMA) is None
