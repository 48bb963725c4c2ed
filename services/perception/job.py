"""One training run as a process of its own: `python -m perception.job --run-dir DIR`, also under torchrun.

It follows the contract of `fleetloop.domain.run_folder`: it holds the folder's lock for as long as it runs, updates
the heartbeat, reports progress, resumes from its checkpoint after a kill, and renames its result into place last. A
mistake in the request is a result too: a sentence that names the field.
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

from fleetloop.domain.run_folder import (
    CHECKPOINTS,
    HEARTBEAT,
    LOCK,
    PROGRESS,
    RESULT,
    RUN_DIR_OPTION,
    RunFailure,
    RunFolderError,
    RunRequest,
    RunResult,
    read_request,
    to_json,
)
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError, load_task_schema
from fleetloop.kit.process.atomic_file import remove_drafts, replace_text
from perception.examination.plan import ExaminationPlanError, load_budget, load_plan
from perception.recipe import Recipe, RecipeError, load_recipe

HEARTBEAT_PERIOD_S = 2.0
EXIT_LOCKED = 75
"""Exit code if another process holds the folder's lock (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Appends lines to progress.jsonl."""

    path: Path

    def report(self, stage: str, step: int = 0, steps: int = 0, loss: float = 0.0, message: str = "") -> None:
        """Append one complete line."""
        line = {"stage": stage, "step": step, "steps": steps, "loss": round(loss, 5), "message": message}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def run(folder: Path, request: RunRequest, schema: TaskSchema, recipe: Recipe, progress: Progress) -> RunResult:
    """Read the dataset, train, evaluate and export.

    Raises RunFolderError, ExaminationPlanError, DatasetError, ExportError, BudgetError or ModelError.
    """
    # Importing torch takes seconds; the lock, the heartbeat and the checks of the request come first.
    import torch

    from fleetloop.domain.artifacts import REPORT, WEIGHTS
    from perception import data, evaluate
    from perception.drives import world_of
    from perception.examination.gates import Examinee, Paper, examine_model
    from perception.examination.page import Examined, page
    from perception.examination.verdict import combined
    from perception.export import export
    from perception.inference import predict
    from perception.train import train

    plan, budget = load_plan(request.examination), load_budget(request.vehicle)
    world_of(plan.closed_loop, schema)  # before hours of training
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    progress.report("read", message=f"{request.dataset.table} {request.dataset.tag}")
    samples = data.read_version(request.dataset, schema)
    test = data.read_version(request.test_set, schema)
    parent = request.parent / WEIGHTS if request.parent else None
    if recipe.start == "parent" and parent is not None and not parent.exists():
        raise RunFolderError(f"request.json: parent: {parent} does not exist")
    period = max(1, recipe.steps // 40)  # about forty lines of progress

    def report(step: int, loss: float) -> None:
        if step % period == 0:
            progress.report("train", step, recipe.steps, loss)

    trained = train(samples, schema, recipe, request.seed, parent=parent, folder=folder / CHECKPOINTS, report=report)
    progress.report("evaluate", trained.steps, recipe.steps, trained.loss, f"{len(test)} scenes")
    outputs = predict(trained.net, test.frames, schema)
    metrics = evaluate.metrics(schema, outputs, test.targets, test.slices, recipe.plain_slices)
    paper = Paper(schema, request.schema_path, plan, budget, test, samples, recipe.plain_slices)
    # The parent answers by its exported graphs, as the vehicles run it.
    in_field = Examinee(request.parent, paper) if request.parent is not None else None
    parent_metrics = (
        evaluate.metrics(schema, in_field.outputs, test.targets, test.slices, recipe.plain_slices) if in_field else []
    )
    progress.report("export", trained.steps, recipe.steps, trained.loss)
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
        "metrics": [metric.model_dump() for metric in metrics],
    }
    digest, files = export(trained.net, schema, card, folder / "model")

    def examining(what: str) -> None:
        progress.report("examine", trained.steps, recipe.steps, trained.loss, what)

    examinee = Examinee(folder / "model", paper)
    gates = list(examine_model(examinee, in_field, paper, examining))
    passed, reasons = combined(gates)
    examined = Examined(
        f"{request.run_id} on {request.dataset.version}", _facts(card, digest), gates, metrics, parent_metrics, test,
        examinee.outputs, examinee.right, in_field.right if in_field else None,
    )  # fmt: skip
    (folder / "model" / REPORT).write_text(page(examined, schema))
    return RunResult(
        passed=passed,
        reasons=reasons,
        gates=gates,
        metrics=metrics,
        parent_metrics=parent_metrics,
        model_digest=digest,
        files={name: f"model/{path}" for name, path in {**files, REPORT: REPORT}.items()},
    )


def _facts(card: Mapping[str, Any], digest: str) -> dict[str, object]:
    """What a person wants to know of how a model was made."""
    dataset, test_set = card["dataset"], card["test_set"]
    return {
        "model": digest,
        "parent": card["parent"] or "none",
        "dataset": f"{dataset['version']} ({card['samples']} samples)",
        "test_set": test_set["version"],
        "recipe": ", ".join(f"{name} {value}" for name, value in card["recipe"].items()),
        "seed": card["seed"],
        "steps": card["steps"],
    }


def _parent_digest(parent: Path | None) -> str | None:
    if parent is None:
        return None
    from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex

    return artifact_digest({name: sha256_hex((parent / name).read_bytes()) for name in VEHICLE_FILES})


@contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Touch the heartbeat file from a thread until the block ends."""
    done = threading.Event()

    def beat() -> None:
        while True:
            path.touch()
            if done.wait(HEARTBEAT_PERIOD_S):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns 0 if there is a result, EXIT_LOCKED if another process holds the folder's lock."""
    parser = argparse.ArgumentParser(description="Train, evaluate and export one model.")
    parser.add_argument(RUN_DIR_OPTION, type=Path, required=True)
    folder: Path = parser.parse_args(arguments).run_dir
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process holds the lock", file=sys.stderr)
            return EXIT_LOCKED
        if (folder / RESULT).exists():
            return 0
        remove_drafts(folder)
        with _heartbeat(folder / HEARTBEAT):
            began = time.monotonic()
            progress = Progress(folder / PROGRESS)
            result = _run_checked(folder, progress)
            replace_text(folder / RESULT, to_json(result), sync=True)
            progress.report("done", message=f"{time.monotonic() - began:.1f} s")
    return 0


def _run_checked(folder: Path, progress: Progress) -> RunResult | RunFailure:
    """Run, and turn an error in the request, its files or its data into a result.

    Any other exception ends the process, and the orchestrator starts the job again.
    """
    try:
        request = read_request(folder)
        schema = load_task_schema(request.schema_path)
        return run(folder, request, schema, load_recipe(request.recipe, schema), progress)
    except (RunFolderError, TaskSchemaError, RecipeError, ExaminationPlanError) as error:
        return RunFailure(error=str(error))
    except ValueError as error:
        # By name: importing their modules would import lance and ONNX Runtime before the request is checked.
        if type(error).__name__ in ("DatasetError", "ModelError"):
            return RunFailure(error=str(error))
        raise


if __name__ == "__main__":
    sys.exit(main())
