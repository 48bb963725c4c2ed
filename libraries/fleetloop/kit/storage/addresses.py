"""Which addresses an event may name: those below the installation's own storage.

An address in an event was written by another service, and what it names decides what is learned, shown and driven. It
must not lead to another fleet, another store, or a file of this machine.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._=@+~-]{1,255}", re.ASCII)
_LONGEST = 1024


def is_own_object(fleet_id: str, address: str) -> bool:
    """Whether an address is `<fleet>/<name>/...`: relative, without a scheme, and without '.' or '..'."""
    first, *others = address.split("/")
    return (
        first == fleet_id
        and len(others) > 0
        and len(address) <= _LONGEST
        and all(_NAME.fullmatch(name) for name in (first, *others))
    )


def is_own_table(root: str, dataset: str, address: str) -> bool:
    """Whether an address is that of a dataset's table below `root`, which is a folder or the URL of a store."""
    return bool(_NAME.fullmatch(dataset)) and address == table_address(root, dataset)


def table_address(root: str, dataset: str) -> str:
    """Address of a dataset's table below `root`."""
    return f"{root.removeprefix('file://').rstrip('/')}/{dataset}.lance"
