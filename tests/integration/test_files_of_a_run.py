"""What an embedded run writes is for its owner only, whatever the umask of the shell that started it."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from fleetloop.api.console_logins import ConsoleLogins
from fleetloop.embedded.run import embedded_run


def open_to_others(root: Path) -> list[str]:
    """Files and folders of which others may read, write or execute; certificates are public."""
    found = []
    for folder, _, names in os.walk(root):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            if path.is_symlink() or not path.exists() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
                continue
            public = path.suffix == ".pem" and path.is_file() and b"PRIVATE" not in path.read_bytes()
            if not public:
                found.append(str(path.relative_to(root)))
    return found


def test_nothing_in_a_runs_folder_is_readable_by_others(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir(mode=0o755)  # as an earlier version left it
    before = os.umask(0o022)
    try:
        services = ["label_desk", "fleet_console"]
        with embedded_run(root, now=datetime.now(UTC), services=services, ready_within_s=150) as run:
            logins = ConsoleLogins(run.layout, "demo")
            logins.set_password("local", "a long enough password")
            logins.link("local", datetime.now(UTC))
            assert (root / "state" / "label_desk" / "state.db").exists()
            assert open_to_others(root) == []
        assert open_to_others(root) == []
        assert os.umask(0o022) == 0o022, "the umask before is back"
    finally:
        os.umask(before)
