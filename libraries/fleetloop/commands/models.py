"""`fleetloop models`: training runs and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fleetloop.api.channel import TIMEOUT_S, channel_to
from fleetloop.api.models import stage_text
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc

app = typer.Typer(help="Training runs and models.", no_args_is_help=True)


@app.command("list")
def list_(folder: Folder = FOLDER) -> None:
    """List all models with their stage and the reasons for it."""
    with channel_to(folder, "rollout_controller") as channel:
        stub = rollout_pb2_grpc.ModelServiceStub(channel)
        models = stub.ListModels(rollout_pb2.ListModelsRequest(), timeout=TIMEOUT_S).models
    table = Table("model", "digest", "stage", "dataset", "run", "why")
    for each in models:
        stage = stage_text(each)
        dataset = f"{each.dataset} {each.dataset_version}"
        table.add_row(
            each.model_version, each.model_digest[:12], stage, dataset, each.run_id, escape("\n".join(each.reasons))
        )
    Console().print(
        table if models else "There is no model yet. The first run starts when a dataset and its test set exist."
    )


@app.command()
def runs(folder: Folder = FOLDER) -> None:
    """List all training runs, the newest first, with their verdicts and the reasons."""
    with channel_to(folder, "training_orchestrator") as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        found = stub.ListRuns(training_pb2.ListRunsRequest(), timeout=TIMEOUT_S).runs
    for run in found:
        state = training_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
        verdict = training_pb2.Verdict.Name(run.verdict).removeprefix("VERDICT_").lower() if run.verdict else state
        model = f", model {run.model_digest[:12]}" if run.model_digest else ""
        print(f"{run.run_id}  {verdict}: {run.dataset} {run.dataset_version}, {run.recipe}{model}")
        print("\n".join(f"    {line}" for line in (run.why, *run.reasons)))
    if not found:
        print("There is no training run yet. The first one starts when a dataset and its test set exist.")


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Training run, as `fleetloop models runs` lists it.")],
    out: Annotated[Path, typer.Option(help="File to write; an existing one is replaced.")] = Path("report.html"),
    folder: Folder = FOLDER,
) -> None:
    """Write the examination of a run as an HTML page: verdicts, figures by slice, and the worst failures."""
    with channel_to(folder, "training_orchestrator") as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        content = stub.GetReport(training_pb2.GetReportRequest(run_id=run), timeout=TIMEOUT_S).html
    replace_bytes(out, content)
    print(f"The examination of {run} is in {out}")


@app.command()
def watch(
    after: Annotated[int, typer.Option(help="Start after the change with this sequence.")] = 0,
    folder: Folder = FOLDER,
) -> None:
    """Print every change of every model as it happens, until Ctrl-C."""
    with channel_to(folder, "rollout_controller") as channel:
        stub = rollout_pb2_grpc.ModelServiceStub(channel)
        for response in stub.WatchModels(rollout_pb2.WatchModelsRequest(resume_after=after)):
            change = response.change
            digest = change.model_digest[:12]
            why = "; ".join(change.reasons)
            print(f"{change.sequence}  {change.model_version} {digest}  {stage_text(change)}  {why}")
