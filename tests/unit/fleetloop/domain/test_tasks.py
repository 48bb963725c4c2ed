"""The shipped task schema loads, and every kind of mistake names its field."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.domain.tasks import TaskSchema, TaskSchemaError, load_task_schema, parse_task_schema

SHIPPED = Path(__file__).parents[4] / "config/tasks.yaml"


@pytest.fixture(scope="module")
def schema() -> TaskSchema:
    return load_task_schema(SHIPPED)


def test_shipped_schema_has_eight_cameras_and_three_tasks(schema: TaskSchema) -> None:
    assert len(schema.cameras) == 8
    assert [task.name for task in schema.tasks] == ["stop_sign", "lead_vehicle", "traffic_light"]
    assert schema.frames.count == 3


def test_a_choice_leaves_other_heads_unknown(schema: TaskSchema) -> None:
    columns = schema.encode_choice("stop_sign", "on_vehicle")
    assert columns["stop_sign.is_sign"].tolist() == [0.0]
    assert np.isnan(columns["stop_sign.applies"]).all()
    assert columns["stop_sign.attributes"].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert np.isnan(columns["traffic_light.state"]).all()


def test_signal_names_follow_the_schema(schema: TaskSchema) -> None:
    names = schema.signal_names("Shadow")
    assert names["stop_sign.is_sign"] == ("Shadow.StopSign.IsSign",)
    assert names["stop_sign.attributes"][3] == "Shadow.StopSign.OnVehicle"
    assert names["traffic_light.state"] == ("Shadow.TrafficLight.State", "Shadow.TrafficLight.StateScore")


MINIMAL = """
version: 1
name: tiny
cameras: [{name: only, kind: front, width: 32, height: 32}]
frames: {past: 0}
tasks:
  - name: sign
    question: is there one
    heads: [{name: there, kind: binary}]
    answers: [{name: yes_there, text: "yes", heads: {there: 1}}]
"""


def test_another_number_of_cameras_and_tasks_is_only_configuration() -> None:
    schema = parse_task_schema(MINIMAL)
    assert schema.frames.count == 1
    assert list(schema.columns()) == ["sign.there"]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("width: 32", "width: 2", "cameras.0.width"),
        ("past: 0", "past: -1", "frames.past"),
        ("kind: binary", "kind: guess", "tasks.0.heads.0.kind"),
        ("{there: 1}", "{there: 7}", "answers.sign.there"),
        ("{there: 1}", "{elsewhere: 1}", "tasks.sign.heads.elsewhere"),
        ("name: there, kind", "name: there, given: there2, kind", "tasks.sign.heads.there2"),
        ("version: 1", "version: 1\ncolour: red", "colour"),
        ("version: 1", "version: [", "tasks.yaml"),
    ],
)
def test_a_mistake_names_its_field(old: str, new: str, field: str) -> None:
    with pytest.raises(TaskSchemaError) as caught:
        parse_task_schema(MINIMAL.replace(old, new))
    assert caught.value.field == field


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskSchemaError, match="no such file"):
        load_task_schema(tmp_path / "tasks.yaml")
