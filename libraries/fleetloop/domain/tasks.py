"""The task schema: which cameras and frames are the net's input, and which questions it answers.

Why it exists: cameras, frames and tasks are configuration. The model derives its heads from the schema, the label
page its choices, the evaluation its tables and the vehicle its `Perception.*` signals, so that no code names a
task. Every mistake in the file raises TaskSchemaError, which names the field and the remedy.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

HeadValue = int | float | str | list[str]
Answers = Mapping[str, Mapping[str, HeadValue]]
"""Task name -> head name -> value. A head that is left out is unknown and adds nothing to the loss."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


class TaskSchemaError(ValueError):
    """The task schema, or an answer to it, is wrong. `field` locates the mistake, `remedy` says what to do."""

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(f"{field}: {remedy}")
        self.field = field
        self.remedy = remedy


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Camera(_Frozen):
    """One camera: its mounting and the size of its picture in pixels."""

    name: Name
    kind: Name
    """Kind of camera; a recipe has one stem per kind."""
    width: int = Field(ge=8, le=4096)
    height: int = Field(ge=8, le=4096)
    yaw_deg: float = Field(default=0.0, ge=-180, le=180)
    """Degrees to the left of straight ahead."""
    pitch_deg: float = Field(default=0.0, ge=-45, le=45)
    """Degrees above the horizon."""
    hfov_deg: float = Field(default=60.0, gt=1, lt=170)
    """Horizontal field of view in degrees."""


class Frames(_Frozen):
    """The net's input in time: the present frame and `past` earlier ones, `stride` camera periods apart."""

    past: int = Field(ge=0, le=64)
    stride: int = Field(default=1, ge=1, le=64)

    @property
    def count(self) -> int:
        """Number of frames in one input, the present one included."""
        return self.past + 1


class Head(_Frozen):
    """One output of a task."""

    name: Name
    kind: Literal["binary", "multilabel", "categorical", "scalar"]
    classes: tuple[Name, ...] = ()
    """Names of the classes of a multilabel or categorical head."""
    given: Name | None = None
    """Name of a binary head of the same task. This head is trained only where that head's label is true."""
    unit: str = ""
    """Unit of a scalar head's value."""
    scale: float = Field(default=1.0, gt=0)
    """A scalar's net output times this is its value in `unit`."""

    @model_validator(mode="after")
    def _classes_fit_kind(self) -> Self:
        if self.kind in ("multilabel", "categorical"):
            if len(self.classes) < (2 if self.kind == "categorical" else 1):
                raise ValueError(f"a {self.kind} head needs `classes`")
            if len(set(self.classes)) != len(self.classes):
                raise ValueError("`classes` holds a name twice")
        elif self.classes:
            raise ValueError(f"a {self.kind} head takes no `classes`")
        return self

    @property
    def width(self) -> int:
        """Number of the net's outputs for this head."""
        return len(self.classes) if self.classes else 1

    @property
    def target_width(self) -> int:
        """Number of values in a label of this head. A category is one value: its index."""
        return len(self.classes) if self.kind == "multilabel" else 1


class AnswerChoice(_Frozen):
    """One choice on the label page, and the value that it gives each head."""

    name: Name
    text: str
    heads: dict[str, HeadValue]


class Task(_Frozen):
    """A question, the heads that answer it, and the choices that a labeller has."""

    name: Name
    question: str
    heads: tuple[Head, ...] = Field(min_length=1)
    decision: tuple[str, ...] = ()
    """Binary heads that must all have a probability above 0.5 for the vehicle to act."""
    answers: tuple[AnswerChoice, ...] = ()

    def head(self, name: str) -> Head:
        """Return a head by name. Raises TaskSchemaError when the task has no such head."""
        for head in self.heads:
            if head.name == name:
                return head
        raise TaskSchemaError(f"tasks.{self.name}.heads.{name}", f"no such head; there are {_names(self.heads)}")

    def answer(self, name: str) -> AnswerChoice:
        """Return a choice by name. Raises TaskSchemaError when the task has no such choice."""
        for choice in self.answers:
            if choice.name == name:
                return choice
        raise TaskSchemaError(
            f"tasks.{self.name}.answers.{name}", f"no such choice; there are {_names(self.answers)}"
        )


class TaskSchema(_Frozen):
    """The content of config/tasks.yaml."""

    version: int = Field(ge=1)
    name: Name
    cameras: tuple[Camera, ...] = Field(min_length=1)
    frames: Frames
    tasks: tuple[Task, ...] = Field(min_length=1)

    def task(self, name: str) -> Task:
        """Return a task by name. Raises TaskSchemaError when there is no such task."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise TaskSchemaError(f"tasks.{name}", f"no such task; there are {_names(self.tasks)}")

    def columns(self) -> dict[str, tuple[Task, Head]]:
        """Map `task.head` to its task and head, in order: the label columns and the net's outputs."""
        return {f"{task.name}.{head.name}": (task, head) for task in self.tasks for head in task.heads}

    def encode(self, answers: Answers) -> dict[str, NDArray[np.float32]]:
        """Encode answers as label columns: `task.head` -> float32 [target_width], NaN where unknown.

        Raises TaskSchemaError when an answer does not fit its head.
        """
        for task_name in answers:
            for head_name in answers[task_name]:
                self.task(task_name).head(head_name)
        encoded = {}
        for column, (task, head) in self.columns().items():
            value = answers.get(task.name, {}).get(head.name)
            encoded[column] = _encode(f"answers.{column}", head, value)
        return encoded

    def encode_choice(self, task_name: str, choice_name: str) -> dict[str, NDArray[np.float32]]:
        """Encode one choice of one task as label columns; the other tasks are unknown."""
        choice = self.task(task_name).answer(choice_name)
        return self.encode({task_name: choice.heads})

    def signal_names(self, prefix: str) -> dict[str, tuple[str, ...]]:
        """Map `task.head` to its telemetry paths below `prefix`, for example `Perception.StopSign.IsSign`.

        A multilabel head has one path per class; a categorical head has one for the class and `<Head>Score`.
        """
        paths: dict[str, tuple[str, ...]] = {}
        for column, (task, head) in self.columns().items():
            base = f"{prefix}.{_camel(task.name)}"
            if head.kind == "multilabel":
                paths[column] = tuple(f"{base}.{_camel(name)}" for name in head.classes)
            elif head.kind == "categorical":
                paths[column] = (f"{base}.{_camel(head.name)}", f"{base}.{_camel(head.name)}Score")
            else:
                paths[column] = (f"{base}.{_camel(head.name)}",)
        return paths


def load_task_schema(path: Path) -> TaskSchema:
    """Read a task schema file. Raises TaskSchemaError that names the field at fault."""
    try:
        return parse_task_schema(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise TaskSchemaError(str(path), "no such file; config/tasks.yaml is the one shipped") from error


def parse_task_schema(text: str) -> TaskSchema:
    """Parse the YAML text of a task schema. Raises TaskSchemaError."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TaskSchemaError("tasks.yaml", f"not YAML: {error}") from error
    if not isinstance(document, dict):
        raise TaskSchemaError("tasks.yaml", "write a mapping with version, name, cameras, frames and tasks")
    try:
        schema = TaskSchema.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "tasks.yaml"
        raise TaskSchemaError(field, first["msg"]) from error
    _check_references(schema)
    return schema


def _check_references(schema: TaskSchema) -> None:
    """Raise TaskSchemaError for a repeated name, or for a name that refers to nothing."""
    _unique("cameras", schema.cameras)
    _unique("tasks", schema.tasks)
    for task in schema.tasks:
        where = f"tasks.{task.name}"
        _unique(f"{where}.heads", task.heads)
        _unique(f"{where}.answers", task.answers)
        for head in task.heads:
            if head.given is not None and task.head(head.given).kind != "binary":
                raise TaskSchemaError(f"{where}.heads.{head.name}.given", "name a binary head of the same task")
        for name in task.decision:
            if task.head(name).kind != "binary":
                raise TaskSchemaError(f"{where}.decision", f"{name!r} is not a binary head")
        for choice in task.answers:
            schema.encode({task.name: choice.heads})  # raises when a value does not fit its head


def _encode(field: str, head: Head, value: HeadValue | None) -> NDArray[np.float32]:
    """Encode one head's value as float32 [target_width]; None becomes NaN. Raises TaskSchemaError about `field`."""
    target = np.full(head.target_width, np.nan, np.float32)
    if value is None:
        return target
    if head.kind == "multilabel":
        if not isinstance(value, list) or not set(value) <= set(head.classes):
            raise TaskSchemaError(field, f"give a list of {', '.join(head.classes)}; not {value!r}")
        target[:] = [float(name in value) for name in head.classes]
    elif head.kind == "categorical":
        if value not in head.classes:
            raise TaskSchemaError(field, f"give one of {', '.join(head.classes)}; not {value!r}")
        target[0] = head.classes.index(str(value))
    elif isinstance(value, (str, list)) or not np.isfinite(value):
        raise TaskSchemaError(field, f"give a finite number, not {value!r}")
    elif head.kind == "binary" and value not in (0, 1):
        raise TaskSchemaError(field, f"give 0 or 1, not {value!r}")
    else:
        target[0] = value
    return target


def _unique(field: str, named: Sequence[Camera | Task | Head | AnswerChoice]) -> None:
    seen: set[str] = set()
    for item in named:
        if item.name in seen:
            raise TaskSchemaError(field, f"{item.name!r} is there twice; names are unique")
        seen.add(item.name)


def _names(named: Sequence[Camera | Task | Head | AnswerChoice]) -> str:
    return ", ".join(item.name for item in named) or "none"


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
