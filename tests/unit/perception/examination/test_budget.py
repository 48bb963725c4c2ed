"""A model that a vehicle cannot carry is refused, by what it really costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.unit.perception.nets import RECIPE, SCHEMA, red_squares

from perception.examination.budget import BudgetError, Cost, cost_of, examine_budget
from perception.examination.plan import VehicleBudget
from perception.export import export
from perception.train import train

BUDGET = VehicleBudget(times_slower=2, p99_ms=10, memory_mb=100, files_mb=5)


def test_each_limit_refuses_by_itself() -> None:
    assert examine_budget(Cost(5, 100, 5), BUDGET).passed
    slow = examine_budget(Cost(5.1, 100, 5), BUDGET)
    assert not slow.passed and slow.reasons == [
        "Too much: an inference takes 10.2 ms (p99 on the vehicle), allowed is 10."
    ]
    assert examine_budget(Cost(1, 101, 5), BUDGET).reasons == ["Too much: it needs 101 MB of memory, allowed is 100."]
    assert examine_budget(Cost(1, 1, 6), BUDGET).reasons == ["Too much: its files have 6 MB, allowed is 5."]
    assert not examine_budget(Cost(float("nan"), 1, 1), BUDGET).passed


def test_an_exported_model_is_run_and_weighed(tmp_path: Path) -> None:
    schema_path = tmp_path / "tasks.yaml"
    schema_path.write_text(yaml.safe_dump(SCHEMA.model_dump(mode="json")))
    trained = train(red_squares(40, 1), SCHEMA, RECIPE.model_copy(update={"steps": 2}), 1)
    export(trained.net, SCHEMA, {"schema_version": SCHEMA.version}, tmp_path / "model")
    cost = cost_of(tmp_path / "model", schema_path, BUDGET)
    size = sum((tmp_path / "model" / name).stat().st_size for name in ("encoder.onnx", "head.onnx", "card.json"))
    assert cost.files_mb == size / 1e6 and 0 < cost.p99_ms < 1000 and 0 < cost.memory_mb < 500
    (tmp_path / "model" / "head.onnx").write_bytes(b"no graph")
    with pytest.raises(BudgetError, match="did not run"):
        cost_of(tmp_path / "model", schema_path, BUDGET)
