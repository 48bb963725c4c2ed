"""Wall clocks that can be set wrong, one per service, by a library that is preloaded into its process.

libfaketime would be the obvious choice. Its version 0.9.10 (Debian 12) breaks Python 3.11: `time.sleep` raises
OSError 22, and idle threads of a pool wait in a busy loop, so that a service needs as much CPU as it gets.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from fleetloop.kit.process.atomic_file import replace_text

_SOURCE = Path(__file__).with_name("wrong_clock.c")


def clocks_missing() -> str:
    """Why clocks cannot be set wrong here; empty if they can."""
    if not sys.platform.startswith("linux"):
        return "the library that sets clocks wrong is for Linux"
    return "" if shutil.which("cc") else "no C compiler (cc) is installed: apt-get install gcc libc6-dev"


class Clocks:
    """The clocks of processes, right at first. Compiles the library into `folder`."""

    def __init__(self, folder: Path) -> None:
        """Raises CalledProcessError, whose stderr has the compiler's message."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._library = folder / "wrong_clock.so"
        command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(self._library), str(_SOURCE)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def environment(self, name: str) -> dict[str, str]:
        """The variables with which a process has the clock of this name."""
        self.set(name, 0)
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK_FILE": str(self._folder / name)}

    def set(self, name: str, offset_s: int) -> None:
        """Set a clock wrong by so many seconds, within 0.2 s."""
        replace_text(self._folder / name, f"{offset_s:+d}\n")
