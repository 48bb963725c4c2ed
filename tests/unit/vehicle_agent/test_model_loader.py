"""A model is loaded once for all vehicles of a process, and released once none of them uses it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.vehicle_agent.tiny_model import write_model

from fleetloop.domain.tasks import load_task_schema
from vehicle_agent.__main__ import OnnxModels
from vehicle_agent.model import ModelRefusedError
from vehicle_agent.model_loader import ModelLoader

SCHEMA = load_task_schema(Path(__file__).parents[3] / "config" / "tasks.yaml")


async def test_vehicles_share_a_model_until_none_keeps_it(tmp_path: Path) -> None:
    digest = write_model(tmp_path, SCHEMA, {})
    with ThreadPoolExecutor(2) as threads:
        loader = ModelLoader(OnnxModels(SCHEMA), threads)
        for vehicle in ("a", "b"):
            loader.retain(vehicle, [digest])
        first, second = await asyncio.gather(loader.runner(digest, tmp_path), loader.runner(digest, tmp_path))
        assert first is second
        loader.retain("a", [])
        assert await loader.runner(digest, tmp_path) is first
        loader.retain("b", [])
        assert await loader.runner(digest, tmp_path) is not first


async def test_bytes_of_another_digest_are_refused(tmp_path: Path) -> None:
    digest = write_model(tmp_path, SCHEMA, {})
    with ThreadPoolExecutor(1) as threads:
        loader = ModelLoader(OnnxModels(SCHEMA), threads)
        with pytest.raises(ModelRefusedError, match=digest):
            await loader.runner("a" * 64, tmp_path)
