"""The services between a firing and a model on one real Kafka, shared by the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
import yaml
from tests.databases import new_database
from tests.integration.loop.small_training import write_small_training
from tests.integration.loop.topics import Topics

from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.shipped import config_folder

SERVICES = [
    "campaign_keeper",
    "label_router",
    "fleet_monitor",
    "label_desk",
    "dataset_curator",
    "training_orchestrator",
    "rollout_controller",
]
ON_POSTGRES = ["label_desk", "dataset_curator", "training_orchestrator"]
PLAN = {"shadow_percent": 50, "canary_percents": [50], "compare_every_km": 1.0}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, postgres_if_installed: str | None) -> Iterator[EmbeddedRun]:
    """The services, up and ready; three of them on Postgres where it is installed, the others on SQLite."""
    folder = tmp_path_factory.mktemp("loop")
    config = folder / "config"
    shutil.copytree(config_folder(), config)
    curation = (config / "curation.yaml").read_text()
    (config / "curation.yaml").write_text(curation.replace("commit_samples: 200", "commit_samples: 12"))
    write_small_training(config)
    plan = yaml.safe_load((config / "rollout.yaml").read_text())
    (config / "rollout.yaml").write_text(yaml.safe_dump(plan | PLAN))
    more = {"label_desk": {"FLEETLOOP_UNDO_WINDOW_S": "0.5"}, "rollout_controller": {"FLEETLOOP_TICK_S": "0.5"}}
    if postgres_if_installed is not None:
        for service in ON_POSTGRES:
            url = new_database(postgres_if_installed, f"loop_{service}")
            more.setdefault(service, {})["FLEETLOOP_DATABASE_URL"] = url
    with embedded_run(
        folder, now=datetime.now(UTC), services=SERVICES, config_dir=config, more_env=more, ready_within_s=120
    ) as running:
        yield running


@pytest.fixture
async def topics(run: EmbeddedRun) -> AsyncIterator[Topics]:
    """Topics of the run."""
    topics = Topics(run.fleet)
    await topics.start()
    yield topics
    await topics.stop()
