"""How a person gets in to the console of a run on this machine: the terminal shows a link, and no file has it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
LINK = re.compile(rb"(http://127\.0\.0\.1:\d+)/login/link\?secret=([\w-]+)")
WITHIN_S = 120.0


def _fleetloop(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fleetloop", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=170, check=False, env=ENVIRON, input=given or None
    )


def _enter(base: str, path: str, **form: str) -> int:
    """The status of the first page after a login; the console may still be starting."""
    deadline = time.monotonic() + WITHIN_S
    with httpx.Client(base_url=base, headers={"origin": base}, timeout=30) as browser:
        while True:
            try:
                browser.post(path, data=form)
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the console does not answer"
                time.sleep(0.5)
                continue
            return browser.get("/").status_code


def test_up_on_a_terminal_shows_a_link_that_no_file_has(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "fleetloop", "up", "--services", "fleet_console", "--dir", str(tmp_path)]
        os.execve(sys.executable, command, {**ENVIRON, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"})
    seen, deadline = b"", time.monotonic() + WITHIN_S
    while (found := LINK.search(seen)) is None:
        assert time.monotonic() < deadline, seen[-2000:]
        with suppress(OSError):  # Linux says EIO when the other end is closed
            seen += os.read(terminal, 65_536)
    base, secret = found[1].decode(), found[2].decode()
    try:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in files if secret.encode() in path.read_bytes() or secret in path.name] == []
        assert _enter(base, "/login/link", secret=secret) == 200
        assert _enter(base, "/login/link", secret=secret) == 303, "a second time"

        assert _fleetloop("users", "password", "local", "--dir", str(tmp_path), given="short\n").returncode == 2
        set_ = _fleetloop("users", "password", "local", "--dir", str(tmp_path), given="a password of local\n")
        assert set_.returncode == 0, set_.stderr
        assert "a password of local" not in set_.stdout
        assert _enter(base, "/login", name="local", password="a password of local") == 200
        assert "is not enrolled" in _fleetloop("users", "link", "unknown", "--dir", str(tmp_path)).stderr
        again = _fleetloop("users", "link", "--dir", str(tmp_path))
        assert LINK.search(again.stdout.encode()) is not None
    finally:
        os.write(terminal, b"\x03")
        while True:
            try:
                if not os.read(terminal, 65_536):
                    break
            except OSError:
                break
        os.waitpid(pid, 0)
        os.close(terminal)


def test_up_in_the_background_writes_no_link_into_its_log(tmp_path: Path) -> None:
    folder = ("--dir", str(tmp_path))
    up = _fleetloop("up", "--services", "fleet_console", "--detach", *folder)
    try:
        assert up.returncode == 0, up.stderr
        assert "fleetloop users link --dir" in up.stdout
        log = (tmp_path / "logs" / "supervisor.log").read_bytes()
        assert b"fleetloop users link" in log
        assert LINK.search(log + up.stdout.encode()) is None
        assert list((tmp_path / "identities").glob("links/*")) == []
    finally:
        _fleetloop("down", *folder)
