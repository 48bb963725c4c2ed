"""Becomes the service, after arranging that it dies with the supervisor. Run by path; imports nothing of ours.

On Linux the kernel sends SIGKILL to the process when the thread that started it ends, whatever ended it, SIGKILL
included. Elsewhere there is no such call: there the guard (guard.py) does it a moment later. The mark is kept
across exec but not across fork, so what a service starts in turn is always the guard's business.

    python -I -S launcher.py PARENT_PID COMMAND ARG...
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = int(sys.argv[1])
    command = sys.argv[2:]
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the supervisor died before the mark was set
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
