"""A network and a mount namespace of the run's own, for what could otherwise harm the machine.

Inside it, packets can be dropped and file systems mounted without any effect outside, and the kernel removes both
when the run ends, however it ends. Creating it needs root and the programs `unshare` and `ip`; without them the run
goes on outside, and the nemeses that need it are skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_INSIDE = "FLEETLOOP_CHAOS_SANDBOX"
_UNSHARE = ("unshare", "--net", "--mount", "--propagation", "private", "--")


def is_inside() -> bool:
    """Whether this process runs in namespaces of its own."""
    return os.environ.get(_INSIDE) == "1"


@cache
def missing() -> str:
    """Why there can be no sandbox here; empty if there can be one."""
    if is_inside():
        return ""
    if not sys.platform.startswith("linux") or os.getuid() != 0:
        return "no namespaces here: they need root on Linux"
    for name in ("unshare", "ip"):
        if shutil.which(name) is None:
            return f"{name} is not installed: apt-get install util-linux iproute2"
    done = subprocess.run([*_UNSHARE, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no namespaces here: {done.stderr.strip()}"


def enter(module: str, arguments: Sequence[str]) -> None:
    """Run `module` again inside a sandbox, in place of this process. Returns if it is inside already."""
    if is_inside():
        return
    script = 'ip link set lo up && exec "$@"'
    command = [*_UNSHARE, "/bin/sh", "-c", script, "sh", sys.executable, "-m", module, *arguments]
    os.execvpe(command[0], command, {**os.environ, _INSIDE: "1"})


def needs_sandbox(program: str, package: str) -> str:
    """Why a nemesis that needs the sandbox and a program cannot work here; empty if it can."""
    if shutil.which(program) is None:
        return f"{program} is not installed: apt-get install {package}"
    return missing()


def mount_small(folder: Path, mebibytes: int) -> None:
    """Mount an empty file system of a given size on a folder. It is gone when the sandbox ends."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "chaos", str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Unmount it, also while files in it are open."""
    subprocess.run(["umount", "--lazy", str(folder)], check=False)
