"""The guard: a process that stops the run's processes if the supervisor is killed.

    python -m fleetloop.supervisor.guard RUN_ID STATE_FILE < pipe

It waits on a pipe whose other end only the supervisor holds. When that end closes, for any reason, the guard stops
every process of the run, runs the clean-up commands in the state file, and exits. After an orderly stop it finds
nothing, so the code path is the same every time and not only used in accidents.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from fleetloop.supervisor.processes import sweep
from fleetloop.supervisor.state import StateError, clean_up_outside, read_state


def main() -> None:
    """Wait for the supervisor to end, then clean up."""
    run_id, state_file = sys.argv[1], Path(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 64):
        pass
    try:
        state = read_state(state_file)
    except StateError:
        state = None
    if state is None or state.run_id != run_id:
        sweep(run_id)
        return
    sweep(run_id, state.marks())
    clean_up_outside(state)


if __name__ == "__main__":
    main()
