"""Clips of the object store, read in a process of their own with limited memory and time.

A clip comes from a vehicle. Reading it unpacks and parses what an attacker may have written, so this does not happen
in a service's own process. The bytes must have the digest that names the clip.
"""

from __future__ import annotations

import hashlib
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress

from fleetloop.domain.clips.limits import ClipLimits
from fleetloop.domain.clips.model import ClipError
from fleetloop.domain.clips.reader import Drive
from fleetloop.domain.clips.transfer import drive_from, limits_message, receive, send
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.storage.objects import Objects

_BASE_BYTES = 256 * 1024**2
"""Address space of the reading process before it reads anything: Python, NumPy and Pillow."""
_TIMEOUT_S = 60.0


log = get_logger(__name__)


class _ReadingFailedError(Exception):
    """The process that reads clips ended or did not answer, because of the clip or of something else."""


class StoredClips:
    """Reads clips by address. Safe for several threads; one clip is read at a time.

    Args:
        objects: The object store.
        limits: What a clip may hold.
        cache_bytes: Bytes of recently read clips that are kept, 0 for none.
        timeout_s: Seconds after which a reading is given up.
    """

    def __init__(
        self, objects: Objects, limits: ClipLimits, cache_bytes: int = 0, timeout_s: float = _TIMEOUT_S
    ) -> None:
        self._objects = objects
        self._limits = limits
        self._cache_bytes = cache_bytes
        self._timeout_s = timeout_s
        # The file, what it unpacks to, and both once more in the answer.
        self._memory_bytes = _BASE_BYTES + 4 * limits.unpacked_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cached: OrderedDict[str, tuple[Drive, int]] = OrderedDict()

    def read(self, address: str, clip_id: str = "") -> Drive:
        """The clip at an address. `clip_id`: the SHA-256 that its bytes must have; empty to take it from the address.

        Raises ObjectMissingError when the store has no such object, and ClipError when the bytes are not the clip,
        are damaged, exceed the limits, or cannot be read with the memory and time that there are.
        """
        with self._lock:
            cached = self._cached.get(address)
            if cached is not None:
                self._cached.move_to_end(address)
                return cached[0]
            content = self._objects.get(address)
            _check_digest(content, clip_id or address.rpartition("/")[2].partition(".")[0])
            drive = self._read(content)
            self._keep(address, drive)
            return drive

    def close(self) -> None:
        """End the reading process."""
        with self._lock:
            self._end()

    def _read(self, content: bytes) -> Drive:
        """Read in the process, and once more in a new one when that failed: it may have been killed from outside."""
        try:
            return self._read_once(content)
        except _ReadingFailedError as error:
            log.warning("reading_process_failed", error=str(error))
        try:
            return self._read_once(content)
        except _ReadingFailedError as error:
            raise ClipError("file", f"{error}, twice") from error

    def _read_once(self, content: bytes) -> Drive:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        try:
            send(process.stdin, {"limits": limits_message(self._limits)}, [content])
            header, bodies = receive(_Deadline(process, self._timeout_s).read, self._memory_bytes)
        except TimeoutError as error:
            self._end()
            raise _ReadingFailedError(f"takes more than {self._timeout_s:g} s to read") from error
        except ClipError:  # the answer has more than it may have
            self._end()
            raise
        except (EOFError, BrokenPipeError, ValueError) as error:
            code = self._end()
            raise _ReadingFailedError(f"ends the process that reads it (exit code {code})") from error
        if "error" in header:
            raise ClipError(str(header.get("where")), str(header["error"]))
        return drive_from(header, bodies, self._limits)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fleetloop.domain.clips.reading_process", str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        return self._process

    def _end(self) -> int | None:
        if self._process is None:
            return None
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process = None
        return code

    def _keep(self, address: str, drive: Drive) -> None:
        size = _bytes_of(drive)
        if size > self._cache_bytes:
            return
        self._cached[address] = (drive, size)
        while sum(each for _, each in self._cached.values()) > self._cache_bytes:
            self._cached.popitem(last=False)


class _Deadline:
    """Reads from a process until a deadline."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        assert process.stdout is not None
        self._descriptor = process.stdout.fileno()
        self._ends_s = time.monotonic() + timeout_s

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises TimeoutError after the deadline, and EOFError when the process has ended."""
        pieces = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while len(pieces) < size:
                if not selector.select(max(0.0, self._ends_s - time.monotonic())):
                    raise TimeoutError
                piece = os.read(self._descriptor, min(size - len(pieces), 1024**2))
                if not piece:
                    raise EOFError
                pieces += piece
        return bytes(pieces)


def _environment() -> dict[str, str]:
    """What Python needs to start; no password of the service, and one thread."""
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME") if name in os.environ
    }
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _check_digest(content: bytes, clip_id: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != clip_id:
        raise ClipError("file", f"has the SHA-256 {found}, not that of the clip, {clip_id[:64]}")


def _bytes_of(drive: Drive) -> int:
    signals = sum(
        signal.times_ns.nbytes + signal.values.nbytes + (signal.splits.nbytes if signal.splits is not None else 0)
        for signal in drive.signals.values()
    )
    return signals + sum(len(image.png) for images in drive.pictures.values() for image in images)
