"""The run folder: the contract between the orchestrator, which starts a training run, and the job that performs it.

A run is a folder. The orchestrator writes `request.json` and starts a job, which is given the folder as `--run-dir`.
The job holds `flock` on `lock` for as long as it runs, touches `heartbeat` every few seconds, appends lines to
`progress.jsonl`, and finally renames `result.json` into place. So after any crash the folder tells the truth: a
result means the run is done, a held lock means a job is running, and neither means that the job died.

A net of your own takes part by following this contract (docs/reference/run-folder.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

LOCK = "lock"
"""Locked by the job with `flock` for as long as it runs."""
HEARTBEAT = "heartbeat"
"""Its modification time is the job's last sign of life."""
REQUEST = "request.json"
"""What the job is to do; written once by the orchestrator."""
PROGRESS = "progress.jsonl"
"""One JSON object per line, appended by the job."""
RESULT = "result.json"
"""The result; it appears complete, by a rename."""
CHECKPOINTS = "checkpoint"
"""Folder in which a job keeps what it needs to resume after a kill."""
LOG = "job.log"
"""Standard output and standard error of the job."""
RUN_DIR_OPTION = "--run-dir"
"""Command-line option with which a job is told its folder. It is last on the command line, which identifies the
job.
"""


_ARTIFACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_JSON_BYTES = 64 * 1024 * 1024
_MAX_MODEL_BYTES = 8 * 1024 * 1024 * 1024


class RunFolderError(ValueError):
    """A file of the run folder is wrong. The message names the file and the field."""


T = TypeVar("T", bound=BaseModel)


class _Contract(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class VersionRef(_Contract):
    """A version of a dataset in Lance."""

    table: str
    """Address of the Lance table."""
    tag: str
    """Tag of the version in Lance."""
    version: str
    """Name of the version in fleetloop, for example `v12`."""
    content_digest: str = ""
    """`fleetloop.domain.dataset_digest` that the rows must have; empty for versions of before it existed."""


class RunRequest(_Contract):
    """The content of `request.json`."""

    run_id: str
    recipe: Path
    """The recipe's file."""
    schema_path: Path = Field(alias="schema")
    """The task schema's file."""
    seed: int
    dataset: VersionRef
    test_set: VersionRef
    parent: Path | None
    """Folder with the files of the model to start from and to compare with; None for a first model."""
    examination: Path | None = None
    """File with what the examination requires (config/examination.yaml); None for the job's own values."""
    vehicle: Path | None = None
    """File with what a vehicle has for a model (config/vehicle.yaml); None for the job's own values."""


class Metric(_Contract):
    """A share of the test set with its 95 % interval.

    `recall` of a slice is the share of its scenes on which the car would do the right thing.
    """

    task: str
    slice: str
    name: str
    value: float
    low: float
    high: float
    samples: int


class Gate(_Contract):
    """What one side of the examination says."""

    name: str
    """Such as slices or robustness."""
    passed: bool
    reasons: Sequence[str]


class RunResult(_Contract):
    """The content of `result.json` of a run that trained a model."""

    passed: bool
    """Whether the model passed its evaluation."""
    reasons: Sequence[str]
    """The reasons for the verdict, as sentences."""
    metrics: Sequence[Metric]
    parent_metrics: Sequence[Metric] = ()
    """The parent's metrics on the same test set; empty for a first model."""
    gates: Sequence[Gate] = ()
    """What each side of the examination says. `passed` and `reasons` combine them."""
    model_digest: str
    """`fleetloop.domain.artifacts.artifact_digest` of the vehicle files."""
    files: Mapping[str, str]
    """Path in the run folder of each file of the model, by its artifact name."""

    @field_validator("files")
    @classmethod
    def _inside(cls, files: Mapping[str, str]) -> Mapping[str, str]:
        for name, path in files.items():
            if not _ARTIFACT.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a file: use letters, digits, '.', '_' and '-'")
            parts = PurePosixPath(path).parts
            if not parts or path.startswith("/") or ".." in parts or not path.isprintable():
                raise ValueError(f"{name}: {path!r} is not a path in the run folder")
        return files


class RunFailure(_Contract):
    """The content of `result.json` of a run that cannot succeed, whatever is retried. Other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    error: str
    """What is wrong, as a sentence that names the field."""


def read_files(folder: Path, result: RunResult) -> dict[str, bytes]:
    """Read the files that a result names, by artifact name.

    Raises RunFolderError when one is missing, lies outside the run folder, also by way of a link, or is too large.
    """
    contents, root, left = {}, folder.resolve(), _MAX_MODEL_BYTES
    for name, given in result.files.items():
        path = (folder / given).resolve()
        if not path.is_relative_to(root):
            raise RunFolderError(f"{RESULT}: files: {name}: {given} leads out of the run folder")
        if not path.is_file():
            raise RunFolderError(f"{RESULT}: files: {name}: {given} is not a file")
        left -= path.stat().st_size
        if left < 0:
            raise RunFolderError(f"{RESULT}: files: have more than {_MAX_MODEL_BYTES} bytes")
        contents[name] = path.read_bytes()
    return contents


def read_request(folder: Path) -> RunRequest:
    """Read `request.json`. Raises RunFolderError that names the field."""
    return _read(folder / REQUEST, RunRequest)


def read_result(folder: Path) -> RunResult | RunFailure | None:
    """Read `result.json`; None while there is none. A result that cannot be used is a failure that says why.

    Raises OSError when the disk fails, which says nothing about the run.
    """
    if not (folder / RESULT).exists():
        return None
    try:
        return parse_result(_read_json(folder / RESULT))
    except RunFolderError as error:
        return RunFailure(error=f"the job's result cannot be used: {error}")


def parse_result(content: Mapping[str, Any]) -> RunResult | RunFailure:
    """Parse the content of `result.json`. Raises RunFolderError that names the field."""
    if content.get("error"):
        return _parse(RESULT, content, RunFailure)
    return _parse(RESULT, content, RunResult)


def to_json(content: BaseModel) -> str:
    """Format a request or a result as the text of its file."""
    return json.dumps(content.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def _read(path: Path, kind: type[T]) -> T:
    return _parse(path.name, _read_json(path), kind)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_JSON_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise RunFolderError(f"{path.name}: cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_JSON_BYTES:
        raise RunFolderError(f"{path.name}: has more than {_MAX_JSON_BYTES} bytes")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path.name}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path.name}: is not a JSON object")
    return content


def _parse(name: str, content: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RunFolderError(f"{name}: {field}: {first['msg']}") from error
