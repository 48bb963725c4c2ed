"""One training run as a process of its own: `python -m perception.job --run-dir DIR`, also under torchrun.

Why it exists: a run outlives whoever started it. It holds a lock on its folder for life, beats, notes its progress,
goes on from its checkpoint after a kill, and renames its result into place as its last act. A mistake in the request
is a result too: an `error` sentence that names the field.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fleetloop.domain.tasks import TaskSchema, TaskSchemaError, load_task_schema
from fleetloop.kit.process.atomic_file import remove_drafts, replace_text
from perception.recipe import Recipe, RecipeError, load_recipe

LOCK, HEARTBEAT, REQUEST, PROGRESS, RESULT, CHECKPOINTS = (
    "lock", "heartbeat", "request.json", "progress.jsonl", "result.json", "checkpoint",
)  # fmt: skip
BEAT_S = 2.0
MAIN_TASK = "stop_sign"
"""The task whose plain and rare slices decide, when the schema has it; otherwise the first."""


class RequestError(ValueError):
    """request.json is wrong; the text names the field."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionRequest(_Frozen):
    """A dataset version."""

    table: str
    tag: str
    version: str


class Request(_Frozen):
    """What the job is told."""

    run_id: str
    recipe: Path
    schema_path: Path
    seed: int
    dataset: VersionRequest
    test_set: VersionRequest
    parent: Path | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Appends lines to progress.jsonl."""

    path: Path

    def say(self, stage: str, step: int = 0, steps: int = 0, loss: float = 0.0, message: str = "") -> None:
        """One line, whole."""
        line = {"stage": stage, "step": step, "steps": steps, "loss": round(loss, 5), "message": message}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_request(folder: Path) -> Request:
    """Raises RequestError."""
    try:
        raw = json.loads((folder / REQUEST).read_text())
        if not isinstance(raw, dict):
            raise RequestError("request.json: is not an object")
        raw["schema_path"] = raw.pop("schema", None)
        return Request.model_validate(raw)
    except OSError as error:
        raise RequestError(f"request.json: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])).replace("schema_path", "schema")
        raise RequestError(f"request.json: {field}: {first['msg']}") from error
    except json.JSONDecodeError as error:
        raise RequestError(f"request.json: is not JSON: {error}") from error


def run(folder: Path, request: Request, schema: TaskSchema, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Reads, trains, examines, exports; returns result.json's content."""
    # Importing torch takes seconds, so that the lock, the heartbeat and a damaged request come first.
    import torch

    from fleetloop.domain.artifacts import WEIGHTS
    from perception import data, evaluate
    from perception.examine import answers
    from perception.export import export
    from perception.train import train

    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    progress.say("read", message=f"{request.dataset.table} {request.dataset.tag}")
    samples = data.read_version(request.dataset.table, request.dataset.tag, schema)
    test = data.read_version(request.test_set.table, request.test_set.tag, schema)
    parent = request.parent / WEIGHTS if request.parent else None
    if recipe.start == "parent" and parent is not None and not parent.exists():
        raise RequestError(f"request.json: parent: {parent} does not exist")
    every = max(1, recipe.steps // 40)

    def report(step: int, loss: float) -> None:
        if step % every == 0:
            progress.say("train", step, recipe.steps, loss)

    trained = train(samples, schema, recipe, request.seed, parent=parent, folder=folder / CHECKPOINTS, report=report)
    progress.say("evaluate", trained.steps, recipe.steps, trained.loss, f"{len(test)} scenes")
    task = MAIN_TASK if any(task.name == MAIN_TASK for task in schema.tasks) else schema.tasks[0].name
    outputs = answers(trained.net, test.frames, schema)
    found = evaluate.metrics(schema, outputs, test.targets, test.slices, recipe.plain_slices)
    right = evaluate.rightly_answered(schema, outputs, test.targets)
    parent_found, parent_right = [], None
    if request.parent is not None:
        before = _parent_answers(request.parent, test.frames, schema)
        parent_found = evaluate.metrics(schema, before, test.targets, test.slices, recipe.plain_slices)
        parent_right = evaluate.rightly_answered(schema, before, test.targets)
    verdict = evaluate.judge(task, right, parent_right, test.slices, recipe.plain_slices)
    progress.say("export", trained.steps, recipe.steps, trained.loss)
    card = {
        "schema_name": schema.name,
        "schema_version": schema.version,
        "run_id": request.run_id,
        "seed": request.seed,
        "dataset": request.dataset.model_dump(),
        "test_set": request.test_set.model_dump(),
        "samples": len(samples),
        "recipe": recipe.model_dump(),
        "steps": trained.steps,
        "parent": _parent_digest(request.parent),
        "metrics": [metric.row() for metric in found],
    }
    digest, files = export(trained.net, schema, card, folder / "model")
    return {
        "passed": verdict.passed,
        "reasons": verdict.reasons,
        "metrics": [metric.row() for metric in found],
        "parent_metrics": [metric.row() for metric in parent_found],
        "model_digest": digest,
        "files": {name: f"model/{path}" for name, path in files.items()},
    }


def _parent_answers(parent: Path, frames: Any, schema: TaskSchema) -> Mapping[str, Any]:
    """The parent answers as the vehicles run it: by its exported graphs."""
    from perception.examine import exported_answers

    return exported_answers(parent, frames, schema)


def _parent_digest(parent: Path | None) -> str | None:
    if parent is None:
        return None
    from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex

    return artifact_digest({name: sha256_hex((parent / name).read_bytes()) for name in VEHICLE_FILES})


@contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Touches the heartbeat from a thread until the block ends."""
    done = threading.Event()

    def beat() -> None:
        while True:
            path.touch()
            if done.wait(BEAT_S):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main(arguments: list[str] | None = None) -> int:
    """0 when a result was left, 75 when another process holds the folder."""
    parser = argparse.ArgumentParser(description="Train, examine and export one model.")
    parser.add_argument("--run-dir", type=Path, required=True)
    folder: Path = parser.parse_args(arguments).run_dir
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process holds the lock", file=sys.stderr)
            return 75
        if (folder / RESULT).exists():
            return 0
        remove_drafts(folder)
        with _beating(folder / HEARTBEAT):
            began = time.monotonic()
            progress = Progress(folder / PROGRESS)
            result = _guarded(folder, progress)
            replace_text(folder / RESULT, json.dumps(result, indent=1, sort_keys=True) + "\n")
            progress.say("done", message=f"{time.monotonic() - began:.1f} s")
    return 0


def _guarded(folder: Path, progress: Progress) -> dict[str, Any]:
    """What is wrong with the request, its files or its data is a result; anything else is a crash to be resumed."""
    try:
        request = read_request(folder)
        schema = load_task_schema(request.schema_path)
        return run(folder, request, schema, load_recipe(request.recipe, schema), progress)
    except (RequestError, TaskSchemaError, RecipeError) as error:
        return {"error": str(error)}
    except ValueError as error:
        if type(error).__name__ == "DatasetError":
            return {"error": str(error)}
        raise


if __name__ == "__main__":
    sys.exit(main())
