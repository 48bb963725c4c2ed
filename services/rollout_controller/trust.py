"""The offline-signed metadata of both repositories, read from the trust folder whenever it is asked for.

`fleetloop trust` adds files beside the first ones, so that a renewal needs no restart. On a cluster the folder is a
mounted config map, whose keys have no folders: `models.2.root.json` stands for `models/2.root.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tuf.api.metadata import Metadata, Root, Targets

_NAME = re.compile(r"([1-9][0-9]*)\.(root|targets)\.json")


class TrustFolder:
    """The files N.root.json and N.targets.json of the repositories `models` and `director`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, repository: str, name: str) -> bytes | None:
        """The content of a file, or None if it does not exist or is not signed offline."""
        if _NAME.fullmatch(name) is None:
            return None
        for path in (self._folder / repository / name, self._folder / f"{repository}.{name}"):
            if path.is_file():
                return path.read_bytes()
        return None

    def newest(self, repository: str, role: str) -> tuple[int, bytes]:
        """Version and content of the newest file of a role. Raises FileNotFoundError that names the file."""
        versions = [version for version, each in self._files(repository) if each == role]
        content = self.read(repository, f"{max(versions)}.{role}.json") if versions else None
        if content is None:
            raise FileNotFoundError(f"{self._folder}: no {repository}/1.{role}.json; the signing ceremony creates it")
        return max(versions), content

    def expiries(self) -> Iterator[tuple[str, str, float]]:
        """Repository, role and expiry (seconds since 1970) of what people have to renew."""
        for repository, role in (("models", "root"), ("models", "targets"), ("director", "root")):
            content = self.newest(repository, role)[1]
            signed = (Metadata[Root] if role == "root" else Metadata[Targets]).from_bytes(content).signed
            yield repository, role, signed.expires.timestamp()

    def _files(self, repository: str) -> Iterator[tuple[int, str]]:
        names = [path.name for path in (self._folder / repository).glob("*.json")]
        names += [path.name.removeprefix(f"{repository}.") for path in self._folder.glob(f"{repository}.*.json")]
        for name in names:
            match = _NAME.fullmatch(name)
            if match is not None:
                yield int(match[1]), match[2]
