"""Determine and fetch the models that this vehicle is assigned, with TUF and a director in Uptane's sense.

The director names digests. The models repository signs every file of a model with two keys, and the digest over the
files must be the one that the director named. A compromised server can withhold a model but not replace it.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, RepositoryError
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from vehicle_agent.model import AgentError, Assignment, ModelRefusedError

ASSIGNMENT = "assignment.json"
DIRECTOR, MODELS = "director", "models"
METADATA_URL, TARGETS_URL = "metadata", "targets"
_DRAFT = ".draft"
_KEPT_MODELS = 2
_COHORTS = ("control", "shadow", "canary")


class UnreachableError(AgentError):
    """The repositories did not answer, or changed meanwhile. Retry later."""


class ModelCache:
    """Fetched models by digest. All vehicles of a process share them, and each verifies them for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def lock(self, digest: str) -> threading.Lock:
        """Return the lock that is held while a model is fetched or verified."""
        return self._locks[digest]

    def prune(self, keep: Collection[str]) -> None:
        """Delete models that no vehicle keeps, but for the newest few, and unfinished downloads of earlier starts."""
        others = [each for each in self.folder.iterdir() if _digest_of(each) not in keep]
        others.sort(key=_changed_ns, reverse=True)
        for folder in others[_KEPT_MODELS:]:
            with self.lock(_digest_of(folder)):
                shutil.rmtree(folder, ignore_errors=True)


class ModelUpdater:
    """One vehicle's view of both repositories. Its methods block; call them in a thread."""

    def __init__(
        self,
        vehicle_id: str,
        trust: Path,
        state: Path,
        store: ModelCache,
        fetcher_of: Callable[[str], FetcherInterface],
    ) -> None:
        """Take the vehicle's trust and state.

        Args:
            vehicle_id: The vehicle.
            trust: Folder with director/1.root.json and models/1.root.json.
            state: Folder in which TUF remembers the newest versions, against rollback attacks.
            store: Fetched models.
            fetcher_of: Returns the fetcher of a repository.
        """
        self._vehicle_id = vehicle_id
        self._roots = {name: (trust / name / "1.root.json").read_bytes() for name in (DIRECTOR, MODELS)}
        self._state = state
        self._store = store
        self._fetcher_of = fetcher_of

    def assignment(self) -> Assignment:
        """What the director signed for this vehicle. Raises UnreachableError and ModelRefusedError."""
        try:
            updater = self._updater(DIRECTOR)
            target = updater.get_targetinfo(ASSIGNMENT)
            if target is None:
                raise ModelRefusedError(f"the director lists no {ASSIGNMENT}")
            path = self._state / DIRECTOR / ASSIGNMENT
            updater.download_target(target, str(path))
            return self._read(path.read_bytes())
        except DownloadLengthMismatchError as error:
            raise ModelRefusedError(f"the director sent too much: {error}") from error
        except DownloadError as error:
            raise UnreachableError(f"the director did not answer: {error}") from error
        except RepositoryError as error:
            raise ModelRefusedError(f"the director's metadata cannot be trusted: {error}") from error

    def model(self, digest: str) -> Path:
        """Return the folder with a model's files, fetching them if needed.

        Each file carries the signatures of both keys, and together they have this digest. Raises UnreachableError or
        ModelRefusedError.
        """
        try:
            updater = self._updater(MODELS)
            targets = {name: self._target(updater, f"models/{digest}/{name}") for name in VEHICLE_FILES}
            with self._store.lock(digest):
                return self._fetch(updater, digest, targets)
        except DownloadLengthMismatchError as error:
            raise ModelRefusedError(f"model {digest}: longer than was signed: {error}") from error
        except DownloadError as error:
            raise UnreachableError(f"model {digest} could not be fetched: {error}") from error
        except RepositoryError as error:
            raise ModelRefusedError(f"model {digest} cannot be trusted: {error}") from error

    def prune(self, keep: Collection[str]) -> None:
        """Delete models from the disk that are not kept. Call it before a model is fetched, to make room."""
        if self._store.folder.is_dir():
            self._store.prune(keep)

    def _updater(self, repository: str) -> Updater:
        folder = self._state / repository
        folder.mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(folder),
            METADATA_URL,
            target_base_url=TARGETS_URL,
            fetcher=self._fetcher_of(repository),
            bootstrap=self._roots[repository],
        )
        updater.refresh()
        return updater

    @staticmethod
    def _target(updater: Updater, path: str) -> TargetFile:
        target = updater.get_targetinfo(path)
        if target is None:
            raise ModelRefusedError(f"{path} is not listed in signed metadata")
        return target

    def _fetch(self, updater: Updater, digest: str, targets: dict[str, TargetFile]) -> Path:
        folder = self._store.folder / digest
        if not _is_complete(folder, targets):
            shutil.rmtree(folder, ignore_errors=True)
            draft = self._store.folder / f".{digest}{_DRAFT}"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            for name, target in targets.items():
                updater.download_target(target, str(draft / name))
            draft.rename(folder)
        hashes = {name: sha256_hex((folder / name).read_bytes()) for name in targets}
        if artifact_digest(hashes) != digest:
            shutil.rmtree(folder)
            raise ModelRefusedError(f"the files listed for model {digest} have the digest {artifact_digest(hashes)}")
        return folder

    def _read(self, content: bytes) -> Assignment:
        try:
            raw = json.loads(content)
            whose = raw["vehicle_id"]
            assignment = Assignment(
                str(raw["active"]),
                str(raw["shadow"]),
                str(raw["rollout_id"]),
                str(raw["cohort"]),
                int(raw["version"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ModelRefusedError(f"{ASSIGNMENT} cannot be read: {error!r}") from error
        if whose != self._vehicle_id or assignment.cohort not in _COHORTS:
            raise ModelRefusedError(f"{ASSIGNMENT} is for {whose!r}, cohort {assignment.cohort!r}")
        return assignment


def _digest_of(folder: Path) -> str:
    return folder.name.removeprefix(".").removesuffix(_DRAFT)


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:  # another vehicle has deleted it
        return 0


def _is_complete(folder: Path, targets: dict[str, TargetFile]) -> bool:
    """Return True if every file exists and is the one that was signed."""
    try:
        for name, target in targets.items():
            target.verify_length_and_hashes((folder / name).read_bytes())
    except (OSError, RepositoryError):
        return False
    return True
