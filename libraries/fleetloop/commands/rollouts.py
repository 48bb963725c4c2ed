"""`fleetloop rollouts`: show how candidates reach the vehicles, and act on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleetloop.api.channel import TIMEOUT_S, channel_to, request_id
from fleetloop.api.models import model_names, rollout_named, rollout_state
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.commands.rollout_screens import facts_table, rollout_facts, rollouts_table, short, stop_text
from fleetloop.errors import UserError
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc

app = typer.Typer(help="Rollouts of models to vehicles, and what people do about them.", no_args_is_help=True)
SERVICE = "rollout_controller"
Rollout = Annotated[
    str, typer.Argument(help="Rollout or the start of its id, or the name of its model, such as model-3.")
]
Reason = Annotated[str, typer.Option(help="Reason, recorded with your name.")]


@app.command("list")
def list_(folder: Folder = FOLDER) -> None:
    """List all rollouts with their state, their evidence, and what they wait for."""
    with channel_to(folder, SERVICE) as channel:
        answer = rollout_pb2_grpc.RolloutServiceStub(channel).ListRollouts(
            rollout_pb2.ListRolloutsRequest(), timeout=TIMEOUT_S
        )
        names = model_names(channel)
    if answer.stop.stopped_by:
        print(stop_text(answer.stop))
    if not answer.rollouts:
        print("There is no rollout yet. One begins when a trained model has passed its evaluation.")
        return
    Console().print(rollouts_table(answer.rollouts, names))
    silent = answer.rollouts[0].silent_vehicles
    if silent:
        print(f"{silent} vehicles have not reported recently; rollouts do not wait for them.")


@app.command()
def show(rollout: Rollout = "", folder: Folder = FOLDER) -> None:
    """Show a rollout, by default the newest: evidence, vehicles, refused reports, forecast, and possible actions."""
    with channel_to(folder, SERVICE) as channel:
        names = model_names(channel)
        stub = rollout_pb2_grpc.RolloutServiceStub(channel)
        found = stub.ListRollouts(rollout_pb2.ListRolloutsRequest(), timeout=TIMEOUT_S)
        if not found.rollouts:
            raise UserError("There is no rollout yet.", "One begins when a trained model has passed its evaluation.")
        chosen = rollout_named(rollout, found.rollouts, names) if rollout else found.rollouts[0]
        answer = stub.GetRollout(rollout_pb2.GetRolloutRequest(rollout_id=chosen.rollout_id), timeout=TIMEOUT_S)
    if found.stop.stopped_by:
        print(stop_text(found.stop))
    Console().print(facts_table(rollout_facts(answer, names)))


@app.command()
def approve(rollout: Rollout, reason: Reason, folder: Folder = FOLDER) -> None:
    """Approve the release of a canary, where config/access.yaml requires a second person for releases."""
    _act(folder, "ApproveRelease", rollout, reason, "is approved; it moves on once the evidence suffices")


@app.command()
def pause(rollout: Rollout, reason: Reason, folder: Folder = FOLDER) -> None:
    """Hold an open rollout where it is. Evidence against its candidate still takes it off the road."""
    _act(folder, "PauseRollout", rollout, reason, "is paused; `abort` takes its candidate off the vehicles")


@app.command()
def resume(
    reason: Reason,
    rollout: Rollout = "",
    everything: Annotated[bool, typer.Option("--all", help="End `fleetloop rollouts stop`.")] = False,
    folder: Folder = FOLDER,
) -> None:
    """Let a paused rollout go on, or with --all, let rollouts begin and move forward again after a stop."""
    if everything == bool(rollout):
        raise UserError("Name one rollout, or give --all.", "List all rollouts with `fleetloop rollouts list`.")
    if not everything:
        _act(folder, "ResumeRollout", rollout, reason, "goes on")
        return
    request = rollout_pb2.ResumeRolloutsRequest(request_id=request_id(), reason=reason)
    with channel_to(folder, SERVICE) as channel:
        rollout_pb2_grpc.RolloutServiceStub(channel).ResumeRollouts(request, timeout=TIMEOUT_S)
    print("Rollouts begin and move forward again. A rollout that is paused stays paused.")


@app.command()
def stop(reason: Reason, folder: Folder = FOLDER) -> None:
    """Stop all rollouts: none begins or moves forward until `resume --all`. What drives stays where it is."""
    request = rollout_pb2.StopRolloutsRequest(request_id=request_id(), reason=reason)
    with channel_to(folder, SERVICE) as channel:
        stub = rollout_pb2_grpc.RolloutServiceStub(channel)
        stub.StopRollouts(request, timeout=TIMEOUT_S)
        found = stub.ListRollouts(rollout_pb2.ListRolloutsRequest(), timeout=TIMEOUT_S).rollouts
    print("All rollouts are stopped.")
    for each in found:
        if each.state == rollout_pb2.ROLLOUT_STATE_RUNNING:
            print(f"Rollout {short(each.rollout_id)} stays {rollout_state(each)} on {len(each.vehicles)} vehicles.")
            print(f"Take it off them with `fleetloop rollouts abort {short(each.rollout_id)}`.")


@app.command()
def abort(rollout: Rollout, reason: Reason, folder: Folder = FOLDER) -> None:
    """End an open rollout without a verdict. Vehicles return to the released model, and it can be retried."""
    _act(folder, "AbortRollout", rollout, reason, "is withdrawn; `fleetloop rollouts retry` begins it again")


@app.command()
def retry(rollout: Rollout, reason: Reason, folder: Folder = FOLDER) -> None:
    """Begin a rollout again that was withdrawn or rolled back. Its earlier evidence is discarded."""
    _act(folder, "RetryRollout", rollout, reason, "begins again in shadow")


@app.command()
def rollback(rollout: Rollout, reason: Reason, folder: Folder = FOLDER) -> None:
    """Roll back a candidate or the released model. Vehicles return to the model before it."""
    _act(folder, "RollBack", rollout, reason, "is rolled back")


def _act(folder: Path, method: str, rollout: str, reason: str, outcome: str) -> None:
    """Call a method that changes one rollout, and print the outcome."""
    with channel_to(folder, SERVICE) as channel:
        stub: Any = rollout_pb2_grpc.RolloutServiceStub(channel)
        found = stub.ListRollouts(rollout_pb2.ListRolloutsRequest(), timeout=TIMEOUT_S).rollouts
        chosen = rollout_named(rollout, found, model_names(channel))
        request = getattr(rollout_pb2, f"{method}Request")(
            request_id=request_id(), rollout_id=chosen.rollout_id, reason=reason
        )
        getattr(stub, method)(request, timeout=TIMEOUT_S)
    print(f"Rollout {short(chosen.rollout_id)} {outcome}.")
