"""The process that reads clips for another one: `python -m fleetloop.domain.clips.reading_process BYTES`.

It may use at most BYTES of memory, opens and writes no file, and ends when its standard input does. A clip that makes
it crash or exceed its memory costs its parent nothing but an error.
"""

from __future__ import annotations

import resource
import sys

from fleetloop.domain.clips.limits import ClipLimits
from fleetloop.domain.clips.model import ClipError
from fleetloop.domain.clips.reader import read_drive
from fleetloop.domain.clips.transfer import drive_message, limits_from, receive, send


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    memory_bytes = int(sys.argv[1])
    # Everything is imported by now. No file may grow, and no core is dumped with what others sent.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer

    def read(size: int) -> bytes:
        data = requests.read(size)
        if len(data) < size:
            raise EOFError
        return data

    while True:
        try:
            header, bodies = receive(read, memory_bytes)
        except EOFError:
            return
        try:
            answer, parts = drive_message(read_drive(bodies[0], _limits(header)))
        except ClipError as error:
            answer, parts = {"where": error.where, "error": error.message}, []
        except MemoryError:
            answer, parts = {"where": "file", "error": f"needs more than {memory_bytes} bytes of memory"}, []
        del bodies
        send(answers, answer, parts)


def _limits(header: dict[str, object]) -> ClipLimits:
    limits = header["limits"]
    assert isinstance(limits, dict)
    return limits_from(limits)


if __name__ == "__main__":
    main()
