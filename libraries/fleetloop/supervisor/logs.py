"""One rotated log file per service. Services write into pipes, which one thread empties.

With pipes instead of files that the services open, rotation loses no line and needs no support by the service.
"""

from __future__ import annotations

import os
import selectors
import threading
from contextlib import suppress
from pathlib import Path

_CHUNK = 65_536


class RotatingLog:
    """A log file `path` with its predecessors `path.1` to `path.<keep>`. Rotates only between lines."""

    def __init__(self, path: Path, *, limit_bytes: int = 8 * 1024 * 1024, keep: int = 2) -> None:
        self._path = path
        self._limit = limit_bytes
        self._keep = keep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, data: bytes) -> None:
        """Append to the log, rotating it when it exceeds its limit."""
        if self._size + len(data) > self._limit and self._size:
            head, newline, rest = data.partition(b"\n")
            # Output without line ends, such as a progress bar, is cut at twice the limit.
            if newline or self._size > 2 * self._limit:
                self._append(head + newline)
                self._rotate()
                data = rest
        self._append(data)

    def _append(self, data: bytes) -> None:
        # A full disk must not stop the services, so output that cannot be written is dropped.
        with suppress(OSError):
            self._file.write(data)
            self._size += len(data)

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("ab", buffering=0)
        self._size = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class LogPump:
    """Moves bytes from the services' pipes to their logs until both are closed, in a thread of its own."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-pump", daemon=True)
        self._thread.start()

    def attach(self, log: RotatingLog) -> int:
        """Return a file descriptor for a child to write to. The caller closes it once the child has it."""
        read_end, write_end = os.pipe()
        with self._lock:
            self._selector.register(read_end, selectors.EVENT_READ, log)
        os.write(self._wake_write, b".")
        return write_end

    def close(self) -> None:
        """Write what the pipes still hold and stop. Pipes that another process keeps open are closed on this side."""
        self._closing = True
        os.write(self._wake_write, b".")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()
        os.close(self._wake_write)

    def _run(self) -> None:
        while True:
            closing = self._closing  # read before `select`, so that everything written before `close` is selected
            ready = self._selector.select(timeout=0.0 if closing else None)
            if closing and all(key.data is None for key, _ in ready):
                return
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                if key.data is None:
                    continue
                if data:
                    key.data.write(data)
                else:
                    with self._lock:
                        self._selector.unregister(key.fd)
                    os.close(key.fd)


def last_lines(path: Path, count: int = 12) -> list[str]:
    """Return the last lines of a log that are not blank, for error messages; empty if there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]
