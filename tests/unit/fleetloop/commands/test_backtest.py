"""`fleetloop triggers backtest` as people call it: on an archive, with files, in a folder where nothing is up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.trigger_detector.test_backtest import CHOSEN, a_log, live, request, store
from typer.testing import CliRunner

from fleetloop.api.campaigns import library_folder
from fleetloop.cli import app
from fleetloop.errors import UserError
from fleetloop.kit.storage.objects import Objects


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    store(Objects(folder.as_uri()), a_log(np.random.default_rng(3)), [40])
    return folder


def call(archive: Path, *more: str) -> dict[str, object]:
    files = [str(library_folder() / f"{name}.yaml") for name in CHOSEN]
    here = ["--archive", str(archive), "--dir", str(archive / "nothing"), "--active", files[0]]
    done = CliRunner().invoke(app, ["triggers", "backtest", *files, *here, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result: dict[str, object] = json.loads(done.stdout) if "--json" in more else {"text": done.stdout}
    return result


def test_it_counts_every_firing_and_what_the_active_ones_would_have_shown(archive: Path, tmp_path: Path) -> None:
    page = tmp_path / "seen.html"
    result = call(archive, "--json", "--html", str(page))
    triggers = result["triggers"]
    assert isinstance(triggers, list)
    objects = Objects(archive.as_uri())
    wanted = live(a_log(np.random.default_rng(3)), request(objects))
    assert sum(each["firings"] for each in triggers) == len(wanted)
    first = next(each for each in triggers if each["name"] == CHOSEN[0])
    assert (first["unique"], [o["trigger"] for o in first["overlaps"]]) == (0, [CHOSEN[0]])
    assert "raw pixels of 8 cameras at 2 Hz" in str(result["cost"])
    assert CHOSEN[0] in page.read_text()


def test_it_says_what_it_replayed_and_shows_its_progress(archive: Path) -> None:
    text = str(call(archive, "--vehicles", "h*")["text"])
    assert f"of {len(CHOSEN)} vehicles" in text
    assert "no clip is stored" in text


def test_nothing_to_look_at_is_an_error_with_a_remedy(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no telemetry of these vehicles and times"):
        call(archive, "--from", "2030-01-01")
    with pytest.raises(UserError, match="has the fleets none"):
        call(tmp_path)
    with pytest.raises(UserError, match="is not a time"):
        call(archive, "--to", "yesterday")
