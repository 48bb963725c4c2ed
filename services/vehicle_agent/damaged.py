"""A folder of bounded size for files that the agent cannot use: they stop nothing and can be examined later."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from fleetloop.kit.process.logs import get_logger

log = get_logger(__name__)
_MAX_BYTES = 4 * 1024 * 1024
_MAX_FILES = 1000
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors for which older files make room. After any other error only what could not be written is lost."""


class SetAside:
    """Moves files into a folder and prunes the oldest there. Never raises: the disk that damaged a file may fail."""

    def __init__(self, folder: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self.count = 0
        """Files that were set aside since this start."""

    def move(self, path: Path, reason: str) -> None:
        """Set a file aside. If it cannot be moved, it is deleted, and if it cannot be deleted, it stays."""
        self.count += 1
        log.warning("file_set_aside", file=str(path), reason=reason)
        try:
            self._folder.mkdir(exist_ok=True)
            path.replace(self._folder / path.name)
            self._prune()
        except OSError as error:
            log.warning("file_not_set_aside", file=str(path), error=str(error))
            try:
                path.unlink(missing_ok=True)
            except OSError as fault:
                log.warning("file_not_deleted", file=str(path), error=str(fault))

    def _prune(self) -> None:
        files = []
        for each in self._folder.iterdir():
            status = each.lstat()
            files.append((status.st_ctime_ns, each.name, status.st_size, each))
        files.sort()
        total = sum(size for _, _, size, _ in files)
        for number, (_, _, size, each) in enumerate(files):
            if total <= self._max_bytes and len(files) - number <= _MAX_FILES:
                return
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
            total -= size
