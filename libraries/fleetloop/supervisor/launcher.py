"""Replace this process by a service, after arranging that the service dies with the supervisor.

    python -I -S launcher.py PARENT_PID COMMAND ARG...

On Linux the kernel sends SIGKILL to the process when the thread that started it ends for any reason, SIGKILL
included. Other systems have no such call, and the guard (guard.py) does it a moment later. The setting survives exec
but not fork, so processes that a service starts are always left to the guard. Runs by path and imports nothing of
ours.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the death signal and the umask, and execute the command."""
    os.umask(0o077)
    parent = int(sys.argv[1])
    command = sys.argv[2:]
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the supervisor died before the death signal was set
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
