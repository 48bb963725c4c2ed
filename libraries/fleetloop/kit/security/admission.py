"""The list of admitted vehicles: a file that is read again when it changes.

A certificate is not enough to be admitted, because it cannot be revoked. `fleetloop vehicles enrol` and `revoke`
write the list; the gateway checks it for every message, also on streams that are open already. A vehicle is refused
when there is no list, when it has no entry, and when the list cannot be read.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.kit.security.identity import Identity, PkiError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Admission:
    """One entry of the list."""

    spiffe_id: str
    serial: str
    """Serial number of the only certificate that is accepted; older ones of the same name are not."""
    since: str
    """Time of the admission, ISO 8601 in UTC."""
    revoked: str | None = None
    """Time of the revocation, ISO 8601 in UTC; None while admitted."""
    reason: str = ""


class AdmissionList:
    """The list in `path`, for reading. Checks cost one `stat` while the file is unchanged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._entries: Mapping[str, Admission] = {}
        self._fault = ""

    def refusal(self, spiffe_id: str, serial: str | None = None) -> str | None:
        """None if admitted, otherwise the reason in words. Without a `serial` only the name is checked."""
        self._refresh()
        if self._fault:
            return self._fault
        entry = self._entries.get(spiffe_id)
        if entry is None:
            return f"{spiffe_id} is not enrolled"
        if entry.revoked is not None:
            return f"{spiffe_id} was revoked on {entry.revoked}" + (f": {entry.reason}" if entry.reason else "")
        if serial is not None and serial != entry.serial:
            return f"{spiffe_id} has been enrolled again; this certificate is no longer accepted"
        return None

    def entries(self) -> tuple[Admission, ...]:
        """All entries, by name. Raises PkiError if the file cannot be read."""
        self._refresh()
        if self._fault and self._seen is not None:
            raise PkiError(self._fault)
        return tuple(sorted(self._entries.values(), key=lambda entry: entry.spiffe_id))

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            self._entries, self._fault = _parse(self._path.read_bytes()), ""
            self._seen = seen
        except FileNotFoundError:
            self._entries, self._seen = {}, None
            self._fault = f"no vehicle is enrolled: there is no {self._path}"
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._entries, self._seen = {}, (0, 0, 0)
            self._fault = f"the admission list {self._path} cannot be read: {error!r}"


def admit(path: Path, who: Identity, serial: str, *, now: datetime) -> Admission:
    """Admits a vehicle and replaces an older entry of the same name. Idempotent.

    Raises PkiError if the list cannot be read.
    """
    entry = Admission(who.uri, serial, now.isoformat(timespec="seconds"))
    with _changing(path) as entries:
        known = entries.get(entry.spiffe_id)
        if known is not None and known.serial == serial and known.revoked is None:
            return known
        entries[entry.spiffe_id] = entry
    return entry


def revoke(path: Path, who: Identity, *, now: datetime, reason: str = "") -> Admission:
    """Revokes an admission. Idempotent. Raises PkiError if `who` is not on the list."""
    with _changing(path) as entries:
        known = entries.get(who.uri)
        if known is None:
            raise PkiError(f"{who.uri} is not enrolled; `fleetloop vehicles list` shows all entries")
        if known.revoked is not None:
            return known
        entry = Admission(known.spiffe_id, known.serial, known.since, now.isoformat(timespec="seconds"), reason)
        entries[who.uri] = entry
    return entry


def _parse(data: bytes) -> dict[str, Admission]:
    document = json.loads(data)
    if document["format"] != _FORMAT:
        raise ValueError(f"format {document['format']} is not {_FORMAT}")
    entries = [Admission(**each) for each in document["admitted"]]
    return {entry.spiffe_id: entry for entry in entries}


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Admission]]:
    """Yields the entries for a change, under a file lock; writes them when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            entries = _parse(path.read_bytes())
        except FileNotFoundError:
            entries = {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PkiError(f"the admission list {path} cannot be read: {error!r}; restore it or remove it") from error
        before = dict(entries)
        yield entries
        if entries != before or not path.exists():
            lines = [
                {name: getattr(entry, name) for name in Admission.__slots__}
                for entry in sorted(entries.values(), key=lambda entry: entry.spiffe_id)
            ]
            document = {"format": _FORMAT, "admitted": lines}
            replace_text(path, json.dumps(document, indent=1) + "\n", mode=0o644, sync=True)
