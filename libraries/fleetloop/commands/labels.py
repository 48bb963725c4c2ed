"""`fleetloop labels`: how often people agree with automatic labels."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.channel import TIMEOUT_S, channel_to
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc

app = typer.Typer(help="Labels and their sources.", no_args_is_help=True)
_SHOWN = 20


@app.command()
def agreement(vehicle: Annotated[str, typer.Option(help="Only this vehicle.")] = "", folder: Folder = FOLDER) -> None:
    """Show how often people agree with automatic labels, by source and by vehicle."""
    with channel_to(folder, "label_desk") as channel:
        stub = label_pb2_grpc.LabelServiceStub(channel)
        found = stub.GetAgreement(label_pb2.GetAgreementRequest(vehicle_id=vehicle), timeout=TIMEOUT_S)
    table = Table("source", "vehicle", "agreed", "share", "99 % interval", "who labels")
    shown = found.vehicles[:_SHOWN]
    for each in (*found.sources, *shown):
        source = label_pb2.LabelSource.Name(each.source).removeprefix("LABEL_SOURCE_").lower()
        share = f"{each.agreed / each.checked:.0%}" if each.checked else "none checked"
        who = f"{source}, people check a share" if each.decides else "people"
        counts = (f"{each.agreed} of {each.checked}", share, f"{each.low:.0%} to {each.high:.0%}")
        table.add_row(source, each.vehicle_id or "all", *counts, who)
    Console().print(table if found.sources or shown else "People have checked no automatic label yet.")
    if len(found.vehicles) > len(shown):
        print(f"Only the {len(shown)} vehicles with the lowest agreement are shown; name one with --vehicle.")
    if found.contradicted_vehicles:
        print(f"{found.contradicted_vehicles} vehicles get no automatic labels: people contradicted them too often.")
