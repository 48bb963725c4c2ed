"""`fleetloop models`: training runs, models and rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.channel import TIMEOUT_S, channel_to, request_id
from fleetloop.api.models import stage_text
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc

app = typer.Typer(help="Training runs, models and rollouts.", no_args_is_help=True)


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
            each.model_version, each.model_digest[:12], stage, dataset, each.run_id, "\n".join(each.reasons)
        )
    Console().print(
        table if models else "There is no model yet. The first run starts when a dataset and its test set exist."
    )


@app.command()
def runs(folder: Folder = FOLDER) -> None:
    """List all training runs with their verdicts."""
    with channel_to(folder, "training_orchestrator") as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        found = stub.ListRuns(training_pb2.ListRunsRequest(), timeout=TIMEOUT_S).runs
    table = Table("run", "state", "verdict", "dataset", "recipe", "model", "why")
    for run in found:
        table.add_row(
            run.run_id,
            training_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower(),
            training_pb2.Verdict.Name(run.verdict).removeprefix("VERDICT_").lower() if run.verdict else "",
            f"{run.dataset} {run.dataset_version}",
            run.recipe,
            run.model_digest[:12],
            "\n".join([run.why, *run.reasons]),
        )
    Console().print(table if found else "There is no training run yet.")


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


@app.command()
def rollback(
    rollout: Annotated[str, typer.Argument(help="Rollout, as listed by `fleetloop models rollouts`.")],
    reason: Annotated[str, typer.Option(help="Reason, stored with the rollout.")],
    folder: Folder = FOLDER,
) -> None:
    """Roll back a model; vehicles return to the previous one."""
    request = rollout_pb2.RollBackRequest(request_id=request_id(), rollout_id=rollout, reason=reason)
    with channel_to(folder, "rollout_controller") as channel:
        rollout_pb2_grpc.RolloutServiceStub(channel).RollBack(request, timeout=TIMEOUT_S)
    print(f"rollout {rollout} is rolled back")


@app.command()
def approve(
    rollout: Annotated[str, typer.Argument(help="Rollout, as listed by `fleetloop models rollouts`.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded with the approval.")],
    folder: Folder = FOLDER,
) -> None:
    """Approve the release of a canary, where config/access.yaml requires a second person for releases."""
    request = rollout_pb2.ApproveReleaseRequest(request_id=request_id(), rollout_id=rollout, reason=reason)
    with channel_to(folder, "rollout_controller") as channel:
        rollout_pb2_grpc.RolloutServiceStub(channel).ApproveRelease(request, timeout=TIMEOUT_S)
    print(f"the release of rollout {rollout} is approved; it follows once the evidence suffices")


@app.command()
def retry(
    rollout: Annotated[str, typer.Argument(help="Rollout, as listed by `fleetloop models rollouts`.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded with the change.")],
    folder: Folder = FOLDER,
) -> None:
    """Begin a rollout again that was withdrawn or rolled back. Its earlier evidence is discarded."""
    request = rollout_pb2.RetryRolloutRequest(request_id=request_id(), rollout_id=rollout, reason=reason)
    with channel_to(folder, "rollout_controller") as channel:
        rollout_pb2_grpc.RolloutServiceStub(channel).RetryRollout(request, timeout=TIMEOUT_S)
    print(f"rollout {rollout} begins again in shadow")


@app.command()
def rollouts(folder: Folder = FOLDER) -> None:
    """List all rollouts with what they wait for, or why they ended."""
    with channel_to(folder, "rollout_controller") as channel:
        stub = rollout_pb2_grpc.RolloutServiceStub(channel)
        found = stub.ListRollouts(rollout_pb2.ListRolloutsRequest(), timeout=TIMEOUT_S).rollouts
    table = Table("rollout", "model", "state", "stage", "vehicles", "attested", "refused reports", "why")
    for each in found:
        state = rollout_pb2.RolloutState.Name(each.state).removeprefix("ROLLOUT_STATE_").lower()
        stage = rollout_pb2.ModelStage.Name(each.stage).removeprefix("MODEL_STAGE_").lower()
        counts = (str(len(each.vehicles)), str(each.attested))
        refused = ", ".join(f"{count} {reason}" for reason, count in sorted(each.evidence.refused_reports.items()))
        table.add_row(
            each.rollout_id, each.model_digest[:12], state, stage, *counts, refused, "\n".join(each.reasons)
        )
    Console().print(table if found else "There is no rollout yet.")
    if found and found[0].silent_vehicles:
        print(f"{found[0].silent_vehicles} vehicles have not reported recently; rollouts do not wait for them")
