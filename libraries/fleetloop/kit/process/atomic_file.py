"""Files that appear whole or not at all: a reader sees the old content or the new one, also after a kill.

The content is written to a draft in the same folder, which then replaces the file by a rename. A process that is
killed in between leaves its draft behind; `remove_drafts` deletes what earlier processes left in a folder. A power
failure may lose both the content and the name of a file that was not written with `sync`, and may leave it empty.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count()


@contextmanager
def replacing(path: Path, *, mode: int | None = None, sync: bool = False) -> Iterator[Path]:
    """Yields the path of an empty draft for the block to fill; the draft replaces `path` when the block ends.

    An exception of the block removes the draft and leaves `path` as it was. The draft's name is unique, so that two
    writers of one file never mix their contents: the last one to finish wins.

    Args:
        path: File to create or to replace. Its folder exists.
        mode: Permissions from the first byte on. None: those of any new file of this process.
        sync: Whether content and name are on the disk when this returns, so that they also survive a power failure.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
    try:
        try:
            if mode is not None:
                os.fchmod(descriptor, mode)  # the process's umask may have removed some of it
        finally:
            os.close(descriptor)
        yield draft
        if sync:
            sync_path(draft)
        draft.replace(path)
        if sync:
            sync_path(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def replace_bytes(path: Path, content: bytes, *, mode: int | None = None, sync: bool = False) -> None:
    """Writes a whole file; the arguments are those of `replacing`."""
    with replacing(path, mode=mode, sync=sync) as draft:
        draft.write_bytes(content)


def replace_text(path: Path, text: str, *, mode: int | None = None, sync: bool = False) -> None:
    """Writes a whole file in UTF-8; the arguments are those of `replacing`."""
    replace_bytes(path, text.encode(), mode=mode, sync=sync)


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents; the new names are on the disk when this returns."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync_path(each.parent)


def remove_drafts(folder: Path) -> None:
    """Deletes what killed processes left in a folder that only this process writes to."""
    for draft in folder.glob("*.tmp"):
        draft.unlink(missing_ok=True)


def sync_path(path: Path) -> None:
    """Returns once a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
