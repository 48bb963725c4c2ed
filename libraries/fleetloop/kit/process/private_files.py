"""The umask of everything that fleetloop runs: files and folders for their owner only.

A file that another user has to read, such as a certificate, is written with an explicit mode.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

UMASK = 0o077


def keep_files_private() -> None:
    """Set the umask of this process and of those that it starts."""
    os.umask(UMASK)


@contextmanager
def private_files() -> Iterator[None]:
    """The same while a block lasts. The umask is that of the whole process, all threads included."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)
