from __future__ import annotations

from pathlib import Path

import pytest

from fleetloop.demo.scenario import _clear
from fleetloop.errors import UserError


def test_a_folder_with_somebodys_own_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds no earlier demo"):
        _clear(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("before", ["nothing", "empty", "demo"])
def test_an_earlier_demo_makes_room(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "demo"
    if before != "nothing":
        folder.mkdir()
    if before == "demo":
        (folder / "config").mkdir()
        (folder / "config" / "curation.yaml").touch()
        (folder / "report.json").touch()
    _clear(folder)
    assert list(folder.iterdir()) == []
