"""The object store: clips, artifacts and diffs by address, on a folder or on S3, through obstore.

An address is a path below the store's root, `<fleet>/<kind>/<date>/<id>`; it means the same on every machine. When a
call that stores returns, the object survives a power failure, so its source may be deleted. "There is no object" is
an answer of the store. Any other failure is an outage and never reads as "no object".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    JoinError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, ObjectStore, from_url

from fleetloop.kit.outage import OutageError
from fleetloop.kit.process.clock import NANOSECONDS_PER_SECOND
from fleetloop.kit.storage.addresses import is_own_object
from fleetloop.kit.storage.folder_objects import DRAFTS, FolderObjects

_FAILURES = (GenericError, JoinError, PermissionDeniedError, UnauthenticatedError)
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, NotFoundError)
_CHUNK_BYTES = 4 * 1024 * 1024


class ObjectMissingError(Exception):
    """The address has no object."""


class ForeignAddressError(ObjectMissingError):
    """The address is not below the installation's own storage, so that it has no object for us."""


class ObjectsUnavailableError(OutageError):
    """The object store does not answer, or refuses the credentials. Nothing is known about the object."""


class Objects:
    """Objects at addresses. Most are written once and never changed. Any call may raise ObjectsUnavailableError.

    Args:
        url: Root of the store.
        fleet_id: The fleet whose objects may be read. Every address from an event is read with it. Empty: any address
            below the root, for tools whose user names the address.
    """

    def __init__(self, url: str, fleet_id: str = "") -> None:
        self._fleet_id = fleet_id
        self._store: ObjectStore
        self._folder: FolderObjects | None = None
        if url.startswith("file://"):
            root = Path(url.removeprefix("file://"))
            self._folder = FolderObjects(root)
            self._store = LocalStore(prefix=root)
        else:
            self._store = from_url(url)
        self.url = url.rstrip("/")

    def put_once(self, address: str, content: bytes | Path) -> bool:
        """Store an object unless the address has one; True when this call stored it. It appears atomically."""
        with self._failures(address):
            if self._folder is not None:
                return self._folder.create(address, content)
            try:
                obstore.put(self._store, address, content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def put(self, address: str, content: bytes | Path) -> None:
        """Store an object and replace what was there. For the few that change, such as TUF's timestamp."""
        with self._failures(address):
            if self._folder is not None:
                self._folder.replace(address, content)
            else:
                obstore.put(self._store, address, content)

    def rename(self, address: str, to: str) -> None:
        """Give an object another address. Raises ObjectMissingError."""
        with self._failures(address):
            if self._folder is not None:
                self._folder.rename(address, to)
            else:
                obstore.rename(self._store, address, to)

    def get(self, address: str) -> bytes:
        """The whole object. Raises ObjectMissingError with the address, and ForeignAddressError if it is not ours."""
        self._check(address)
        with self._failures(address):
            if self._folder is not None:
                return self._folder.path(address).read_bytes()
            return bytes(obstore.get(self._store, address).bytes())

    def fetch(self, address: str, target: Path) -> None:
        """Write the object to a file in chunks. Raises ObjectMissingError and ForeignAddressError as `get` does."""
        self._check(address)
        with self._failures(address):
            if self._folder is not None:
                with self._folder.path(address).open("rb") as source, target.open("wb") as file:
                    while piece := source.read(_CHUNK_BYTES):
                        file.write(piece)
                return
            pieces = obstore.get(self._store, address).stream()
            with target.open("wb") as file:
                for piece in pieces:
                    file.write(piece)

    def exists(self, address: str) -> bool:
        """True when the address has an object."""
        try:
            with self._failures(address):
                if self._folder is not None:
                    return self._folder.path(address).is_file()
                obstore.head(self._store, address)
        except ObjectMissingError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Addresses below a prefix, in no particular order."""
        with self._failures(prefix):
            for chunk in obstore.list(self._store, prefix=prefix):
                for item in chunk:
                    if not item["path"].startswith(f"{DRAFTS}/"):
                        yield item["path"]

    def path_of(self, address: str) -> Path | None:
        """The file itself when the store is a folder, else None."""
        return Path(self.url.removeprefix("file://")) / address if self.url.startswith("file://") else None

    def _check(self, address: str) -> None:
        if self._fleet_id and not is_own_object(self._fleet_id, address):
            raise ForeignAddressError(f"{address[:200]!r} is not below {self._fleet_id}/ of {self.url}")

    @contextmanager
    def _failures(self, address: str) -> Iterator[None]:
        try:
            yield
        except _MISSING as error:
            raise ObjectMissingError(f"no object at {address} in {self.url}") from error
        except _FAILURES as error:
            said = str(error).partition("\n")[0]
            raise ObjectsUnavailableError(f"{self.url} did not answer for {address}: {said}") from error


def object_address(fleet_id: str, kind: str, at_utc_ns: int, name: str) -> str:
    """`<fleet>/<kind>/<date>/<name>` with the UTC date of `at_utc_ns`."""
    day = datetime.fromtimestamp(at_utc_ns // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%d")
    return f"{fleet_id}/{kind}/{day}/{name}"
