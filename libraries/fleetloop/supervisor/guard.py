"""Outlives the supervisor by a moment, to end what the supervisor could not when it was killed itself.

It waits on a pipe whose other end only the supervisor holds. When that end closes, for whatever reason, the guard
ends every process of the run, runs the clean-up commands that the state file names, and goes. After an orderly
stop there is nothing left to find, so this is the same path every time and not one that only accidents take.

    python -m fleetloop.supervisor.guard RUN_ID STATE_FILE < pipe
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from fleetloop.supervisor.processes import sweep
from fleetloop.supervisor.state import StateError, clean_up_outside, read_state


def main() -> None:
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
