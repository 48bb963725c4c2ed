"""Objects as files below a folder. An object is on the disk, content and name, before it counts as stored.

The content is written to a draft and synced before it gets its name, so that an address never shows a part of an
object, also after a power failure; folders are synced up to the root before a call returns.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fleetloop.kit.process.atomic_file import make_folder, sync_path

DRAFTS = ".drafts"
_DRAFT_AGE_S = 86_400.0
_numbers = itertools.count()


class FolderObjects:
    """The files of one folder. Errors are OSErrors; FileNotFoundError if the address has no object."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        for draft in (root / DRAFTS).glob("*"):
            self._remove_old(draft)

    def path(self, address: str) -> Path:
        """The file of an address. Raises ValueError if it would lie outside the folder."""
        parts = PurePosixPath(address).parts
        if not parts or parts[0] in ("/", DRAFTS) or ".." in parts or "\0" in address:
            raise ValueError(f"{address!r} is not the address of an object")
        return self._root / address

    def create(self, address: str, content: bytes | Path) -> bool:
        """Store an object unless the address has one. An empty file counts as none: it is what a power failure leaves
        of a file that was not synced.
        """
        path = self.path(address)
        make_folder(path.parent)
        with self._draft(content) as (draft, size):
            try:
                os.link(draft, path)
            except FileExistsError:
                if path.stat().st_size or not size:
                    sync_path(path)
                    self._sync_folders(path)
                    return False
                draft.replace(path)
        self._sync_folders(path)
        return True

    def replace(self, address: str, content: bytes | Path) -> None:
        """Store an object and replace what was there."""
        path = self.path(address)
        make_folder(path.parent)
        with self._draft(content) as (draft, _):
            draft.replace(path)
        self._sync_folders(path)

    def rename(self, address: str, to: str) -> None:
        """Give an object another address, where nothing may be."""
        path, target = self.path(address), self.path(to)
        make_folder(target.parent)
        path.replace(target)
        self._sync_folders(path)
        self._sync_folders(target)

    @contextmanager
    def _draft(self, content: bytes | Path) -> Iterator[tuple[Path, int]]:
        """A synced file with the content, and its size."""
        folder = self._root / DRAFTS
        folder.mkdir(exist_ok=True)
        draft = folder / f"{os.getpid()}-{next(_numbers)}-{os.urandom(4).hex()}"
        try:
            if isinstance(content, Path):
                shutil.copyfile(content, draft)
            else:
                draft.write_bytes(content)
            sync_path(draft)
            yield draft, draft.stat().st_size
        finally:
            draft.unlink(missing_ok=True)

    def _sync_folders(self, path: Path) -> None:
        """Sync the folders of a file up to the root; another process may have created some and not synced them."""
        for folder in path.parents:
            sync_path(folder)
            if folder == self._root:
                return

    @staticmethod
    def _remove_old(draft: Path) -> None:
        try:
            if draft.stat().st_mtime < time.time() - _DRAFT_AGE_S:
                draft.unlink()
        except OSError:
            return  # another process has removed it
