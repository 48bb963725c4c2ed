"""The object store: clips, artifacts and diffs by address, on a folder or on S3, through obstore.

An address is a path below the store's root, `<fleet>/<kind>/<date>/<id>`; it means the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from fleetloop.kit.process.clock import NANOSECONDS_PER_SECOND


class ObjectMissingError(Exception):
    """The address has no object."""


class Objects:
    """Objects at addresses. Most are written once and never changed."""

    def __init__(self, url: str) -> None:
        self._store: ObjectStore
        if url.startswith("file://"):
            root = Path(url.removeprefix("file://"))
            root.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(prefix=root, mkdir=True)
        else:
            self._store = from_url(url)
        self.url = url.rstrip("/")

    def put_once(self, address: str, content: bytes | Path) -> bool:
        """Store an object unless the address has one; True when this call stored it. It appears atomically."""
        try:
            obstore.put(self._store, address, content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def put(self, address: str, content: bytes | Path) -> None:
        """Store an object and replace what was there. For the few that change, such as TUF's timestamp."""
        obstore.put(self._store, address, content)

    def get(self, address: str) -> bytes:
        """The whole object. Raises ObjectMissingError with the address."""
        try:
            return bytes(obstore.get(self._store, address).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissingError(f"no object at {address} in {self.url}") from error

    def fetch(self, address: str, target: Path) -> None:
        """Write the object to a file in chunks. Raises ObjectMissingError with the address."""
        try:
            pieces = obstore.get(self._store, address).stream()
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissingError(f"no object at {address} in {self.url}") from error
        with target.open("wb") as file:
            for piece in pieces:
                file.write(piece)

    def exists(self, address: str) -> bool:
        """True when the address has an object."""
        try:
            obstore.head(self._store, address)
        except (NotFoundError, FileNotFoundError):
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Addresses below a prefix, in no particular order."""
        for chunk in obstore.list(self._store, prefix=prefix):
            for item in chunk:
                yield item["path"]

    def path_of(self, address: str) -> Path | None:
        """The file itself when the store is a folder, else None."""
        return Path(self.url.removeprefix("file://")) / address if self.url.startswith("file://") else None


def object_address(fleet_id: str, kind: str, at_utc_ns: int, name: str) -> str:
    """`<fleet>/<kind>/<date>/<name>` with the UTC date of `at_utc_ns`."""
    day = datetime.fromtimestamp(at_utc_ns // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%d")
    return f"{fleet_id}/{kind}/{day}/{name}"
