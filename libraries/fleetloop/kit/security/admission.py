"""The list of admitted vehicles, people and services: a file that is read again when it changes.

A certificate is not enough to be admitted, because it cannot be revoked. `fleetloop users`, `vehicles` and `services`
write the list; every server checks it for every call, and again for calls that are open. A caller is refused when the
list has no entry for it; when there is no list, or it cannot be read, the server cannot decide and says so.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.kit.refusal import PermissionDeniedError, UnavailableError
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError

_FORMAT, _FORMATS = 2, (1, 2)
"""Format 1 had vehicles only, and therefore no roles."""


@dataclass(frozen=True, slots=True)
class Admission:
    """One entry of the list."""

    spiffe_id: str
    serial: str
    """Serial number of the only certificate that is accepted; older ones of the same name are not.

    Empty for a service: any certificate with its name, because an issuer such as cert-manager renews it by itself.
    """
    since: str
    """Time of the admission, ISO 8601 in UTC."""
    revoked: str | None = None
    """Time of the revocation, ISO 8601 in UTC; None while admitted."""
    reason: str = ""
    roles: tuple[str, ...] = ()
    """Roles of a person, sorted; empty for vehicles and services."""
    issuer: str = ""
    """Short name of the authority's key that issued the certificate; empty for a service, and if it is not known."""
    key: str = ""
    """Short name of the certificate's own key; empty for a service, and if it is not known."""
    revoked_keys: tuple[str, ...] = ()
    """Keys of earlier certificates that were revoked: they may be in wrong hands, and are never admitted again."""

    def refusal_text(self, serial: str | None = None) -> str:
        """Why a caller with this certificate is refused; empty when it is admitted."""
        if self.revoked is not None:
            return f"{self.spiffe_id} was revoked on {self.revoked}" + (f": {self.reason}" if self.reason else "")
        if serial is not None and self.serial and serial != self.serial:
            return f"{self.spiffe_id} has been enrolled again; this certificate is no longer accepted"
        return ""


class AdmissionList:
    """The list in `path`, for reading. Checks cost one `stat` while the file is unchanged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._entries: Mapping[str, Admission] = {}
        self._revoked: list[Identity] | None = None
        self._fault = ""

    def admitted(self, who: Identity, serial: str | None = None) -> Admission:
        """The entry of an admitted caller. Without a `serial` only the name is checked.

        Raises PermissionDeniedError when it is not admitted, UnavailableError when the list cannot be read.
        """
        entry = self.find(who)
        if entry is None:
            raise PermissionDeniedError(
                f"{who.uri} is not enrolled", remedy=f"`fleetloop {who.kind}s enrol {who.name}` admits it"
            )
        refusal = entry.refusal_text(serial)
        if refusal:
            raise PermissionDeniedError(refusal)
        return entry

    def find(self, who: Identity) -> Admission | None:
        """The entry of a name, also a revoked one. Raises UnavailableError when the list cannot be read."""
        self._refresh()
        if self._fault:
            raise UnavailableError(self._fault)
        return self._entries.get(who.uri)

    def entries(self) -> tuple[Admission, ...]:
        """All entries, by name; none if there is no file yet. Raises PkiError if the file cannot be read."""
        self._refresh()
        if self._fault and self._seen is not None:
            raise PkiError(self._fault)
        return tuple(sorted(self._entries.values(), key=lambda entry: entry.spiffe_id))

    def revoked(self, kind: IdentityKind) -> frozenset[str]:
        """Names of a kind that were revoked. Raises UnavailableError when the list cannot be read."""
        self._refresh()
        if self._fault:
            raise UnavailableError(self._fault)
        if self._revoked is None:
            self._revoked = [Identity.parse(uri) for uri, entry in self._entries.items() if entry.revoked is not None]
        return frozenset(each.name for each in self._revoked if each.kind == kind)

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            self._entries, self._fault, self._revoked = _parse(self._path.read_bytes()), "", None
            self._seen = seen
        except FileNotFoundError:
            self._entries, self._seen = {}, None
            self._fault = f"there is no admission list {self._path}; `fleetloop users enrol` writes it"
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._entries, self._seen = {}, (0, 0, 0)
            self._fault = f"the admission list {self._path} cannot be read: {error!r}"


def admit(
    path: Path,
    who: Identity,
    serial: str,
    *,
    now: datetime,
    roles: Collection[str] | None = None,
    issuer: str = "",
    key: str = "",
) -> Admission:
    """Admits a caller and replaces an older entry of the same name. Idempotent.

    Args:
        path: The list.
        who: The caller.
        serial: Serial number of its certificate; empty admits every certificate with this name.
        now: The current time.
        roles: Roles of a person; None keeps those of the older entry.
        issuer: Short name of the authority's key that issued the certificate.
        key: Short name of the certificate's own key.

    Raises PkiError if the list cannot be read, or the key was revoked.
    """
    with _changing(path) as entries:
        known = entries.get(who.uri)
        kept = known.roles if known is not None else ()
        revoked_keys = known.revoked_keys if known is not None else ()
        if known is not None and known.revoked is not None and known.key:
            revoked_keys = tuple(dict.fromkeys((*revoked_keys, known.key)))
        refuse_revoked_key(entries.values(), who, key)
        entry = Admission(
            who.uri,
            serial,
            now.isoformat(timespec="seconds"),
            roles=kept if roles is None else tuple(sorted(set(roles))),
            issuer=issuer,
            key=key,
            revoked_keys=revoked_keys,
        )
        if known is not None and replace(known, since=entry.since) == replace(entry, reason=known.reason):
            return known
        entries[entry.spiffe_id] = entry
    return entry


def refuse_revoked_key(entries: Iterable[Admission], who: Identity, key: str) -> None:
    """Raises PkiError if the key of a request was revoked with any entry."""
    if key and any(key in _keys_revoked(entry) for entry in entries):
        raise PkiError(
            f"the key of this request was revoked; make a new one in another folder with `fleetloop {who.kind}s "
            f"request {who.name} --out FOLDER`"
        )


def _keys_revoked(entry: Admission) -> tuple[str, ...]:
    return (*entry.revoked_keys, entry.key) if entry.revoked is not None else entry.revoked_keys


def set_roles(path: Path, who: Identity, *, add: Collection[str] = (), remove: Collection[str] = ()) -> Admission:
    """Changes a person's roles. Idempotent. Raises PkiError if `who` is not on the list or revoked."""
    with _changing(path) as entries:
        known = entries.get(who.uri)
        if known is None or known.revoked is not None:
            state = "is not enrolled" if known is None else "is revoked"
            raise PkiError(f"{who.uri} {state}; `fleetloop users enrol {who.name}` admits it")
        entry = replace(known, roles=tuple(sorted({*known.roles, *add} - {*remove})))
        entries[who.uri] = entry
    return entry


def revoke(path: Path, who: Identity, *, now: datetime, reason: str = "") -> Admission:
    """Revokes an admission. Idempotent. Raises PkiError if `who` is not on the list."""
    with _changing(path) as entries:
        known = entries.get(who.uri)
        if known is None:
            raise PkiError(f"{who.uri} is not enrolled; `fleetloop {who.kind}s list` shows all entries")
        if known.revoked is not None:
            return known
        entry = replace(known, revoked=now.isoformat(timespec="seconds"), reason=reason)
        entries[who.uri] = entry
    return entry


def _parse(data: bytes) -> dict[str, Admission]:
    document = json.loads(data)
    if document["format"] not in _FORMATS:
        raise ValueError(f"format {document['format']} is not one of {_FORMATS}")
    entries = [_entry(each) for each in document["admitted"]]
    return {entry.spiffe_id: entry for entry in entries}


def _entry(each: Mapping[str, object]) -> Admission:
    """One entry. Fields of a later version are passed over, so that servers may be older than the command line."""
    known = {name: each[name] for name in Admission.__slots__ if name in each}
    texts = [known["spiffe_id"], known["serial"], known["since"], known.get("revoked") or "", known.get("reason", "")]
    if not all(isinstance(value, str) for value in (*texts, known.get("issuer", ""), known.get("key", ""))):
        raise ValueError(f"{each} has a value that is not text")
    lists = {name: _names(known.get(name, [])) for name in ("roles", "revoked_keys")}
    return Admission(**{**known, **lists})  # type: ignore[arg-type]


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{value!r} is not a list of names")
    return tuple(value)


def _former(path: Path) -> dict[str, Admission]:
    """The entries of the list of version 0.1, which had another name; none if there is none."""
    former = path.with_name("vehicles.json")
    try:
        return _parse(former.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise PkiError(f"{former} cannot be read: {error!r}; restore it or remove it") from error


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Admission]]:
    """Yields the entries for a change, under a file lock; writes them when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            entries = _parse(path.read_bytes())
        except FileNotFoundError:
            entries = _former(path)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise PkiError(f"the admission list {path} cannot be read: {error!r}; restore it or remove it") from error
        before = dict(entries)
        yield entries
        if entries != before or not path.exists():
            lines = [
                {name: getattr(entry, name) for name in Admission.__slots__}
                for entry in sorted(entries.values(), key=lambda entry: entry.spiffe_id)
            ]
            document = {"format": _FORMAT, "admitted": lines}
            replace_text(path, json.dumps(document, indent=1) + "\n", mode=0o600, sync=True)
