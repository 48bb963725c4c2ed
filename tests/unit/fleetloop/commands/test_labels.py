"""`fleetloop labels agreement`, as it is typed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from fleetloop.cli import app
from fleetloop.commands import labels
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc

HINDSIGHT = label_pb2.LABEL_SOURCE_HINDSIGHT


class Desk:
    """A desk with one answer."""

    def __init__(self, answer: label_pb2.GetAgreementResponse) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def GetAgreement(self, request: label_pb2.GetAgreementRequest, timeout: float) -> label_pb2.GetAgreementResponse:
        self.asked.append(request.vehicle_id)
        return self.answer


def typed(monkeypatch: pytest.MonkeyPatch, desk: Desk, *arguments: str) -> str:
    @contextmanager
    def channel(*_: object) -> Iterator[None]:
        yield None

    monkeypatch.setattr(labels, "channel_to", channel)
    monkeypatch.setattr(label_pb2_grpc, "LabelServiceStub", lambda _: desk)
    done = CliRunner().invoke(
        app, ["labels", "agreement", *arguments], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_agreement_is_shown_by_source_and_vehicle_with_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(
        label_pb2.GetAgreementResponse(
            sources=[label_pb2.Agreement(source=HINDSIGHT, agreed=97, checked=100, low=0.9, high=0.99, decides=True)],
            vehicles=[label_pb2.Agreement(source=HINDSIGHT, vehicle_id="car-7", checked=3, high=0.83)],
            contradicted_vehicles=1,
        )
    )
    printed = typed(monkeypatch, desk, "--vehicle", "car-7")
    assert desk.asked == ["car-7"]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    assert rows == [
        ["hindsight", "all", "97 of 100", "97%", "90% to 99%", "hindsight, people check a share"],
        ["hindsight", "car-7", "0 of 3", "0%", "0% to 83%", "people"],
    ]
    assert "1 vehicles get no automatic labels" in printed


def test_no_check_yet_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = typed(monkeypatch, Desk(label_pb2.GetAgreementResponse()))
    assert "People have checked no automatic label yet." in printed
