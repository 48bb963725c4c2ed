"""In a sandbox packets are lost in one direction only, disks are small, and outside nothing of it is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos import sandbox

_INSIDE = """
import socket, threading
from pathlib import Path
from tests.chaos import sandbox
from tests.chaos.nemeses.disk_full import _fill
from tests.chaos.nemeses.partition import cut, mend

server = socket.create_server(("127.0.0.1", 20300))
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
accepted.settimeout(1)
client.settimeout(1)

def arrives(source, target):
    source.send(b"x")
    try:
        return target.recv(1) == b"x"
    except TimeoutError:
        return False

print("before", arrives(client, accepted), arrives(accepted, client))
cut("chaos_test", "dport", 20300)
print("cut", arrives(client, accepted))
mend("chaos_test")
accepted.settimeout(30)
print("mended", accepted.recv(1) == b"x")
disk = Path(FOLDER)
sandbox.mount_small(disk, 4)
print("full", _fill(disk / "ballast") > 3 * 2**20)
try:
    (disk / "more").write_bytes(b"x" * 5000)
except OSError as error:
    print("refused", error.errno)
"""


MISSING = sandbox.needs_sandbox("nft", "nftables")


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_packets_are_lost_one_way_and_the_disk_is_full_inside_only(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'ip link set lo up && exec "$@"'
    command = ["unshare", "--net", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", script, "sh"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*command, sys.executable, "-c", _INSIDE.replace("FOLDER", repr(str(disk)))],
        capture_output=True, text=True, timeout=120, check=False, env=env,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines == ["before True True", "cut False", "mended True", "full True", "refused 28"], done.stderr
    assert list(disk.iterdir()) == []
