"""Passwords of local accounts, and one-time links: what is stored proves them and does not contain them.

The files are below the run's `identities` folder, readable by their owner only. `fleetloop users password` and
`fleetloop users link` write them; the console reads them. A link is spent by deleting its file, which exactly one
process can do.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path

from fleetloop.kit.process.atomic_file import make_folder, replace_text
from fleetloop.kit.security.identity import PkiError, is_person_name

_N, _R, _P = 2**15, 8, 1
_MEMORY_BYTES = 64 * 2**20
"""scrypt with these costs uses 32 MiB for one password."""
SHORTEST, LONGEST = 12, 256
"""Characters of a password."""
LINK_S = 600
"""Seconds for which a one-time link is valid."""


def hash_password(password: str) -> str:
    """What to store of a password: costs, salt and key. Raises PkiError for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise PkiError(f"a password has {SHORTEST} to {LONGEST} characters")
    salt = secrets.token_bytes(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY_BYTES)
    return "$".join(("scrypt", str(_N), str(_R), str(_P), b64encode(salt).decode(), b64encode(key).decode()))


_NOBODY = f"scrypt${_N}${_R}${_P}${b64encode(bytes(16)).decode()}${b64encode(bytes(64)).decode()}"


def password_matches(stored: str | None, given: str) -> bool:
    """Whether a password is that of `stored`. An unknown account (None) takes as long as a wrong password."""
    try:
        kind, n, r, p, salt, key = (stored or _NOBODY).split("$")
        wanted = b64decode(key, validate=True)
        costs = (int(n), int(r), int(p))
    except ValueError:
        return False
    if kind != "scrypt" or costs != (_N, _R, _P) or len(given) > LONGEST:
        return False
    found = hashlib.scrypt(
        given.encode("utf-8", "replace"), salt=b64decode(salt), n=_N, r=_R, p=_P, maxmem=_MEMORY_BYTES
    )
    return hmac.compare_digest(found, wanted) and stored is not None


class Accounts:
    """The file with one stored password per person."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, name: str) -> str | None:
        """What is stored for a person; None without an account. Raises PkiError if the file cannot be read."""
        return self._read().get(name)

    def set(self, name: str, password: str) -> None:
        """Create or replace an account. Raises PkiError if the password or the file cannot be used."""
        if not is_person_name(name):
            raise PkiError(f"{name!r} is no name of a person")
        stored = hash_password(password)
        make_folder(self._path.parent)
        with self._path.with_name(f".{self._path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            accounts = {**self._read(), name: stored}
            text = json.dumps({"format": 1, "accounts": accounts}, indent=1)
            replace_text(self._path, text, mode=0o600, sync=True)

    def _read(self) -> Mapping[str, str]:
        try:
            document = json.loads(self._path.read_bytes())
            accounts = document["accounts"] if document["format"] == 1 else None
            if not isinstance(accounts, dict) or not all(isinstance(each, str) for each in accounts.values()):
                raise ValueError("the format is unknown")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PkiError(f"the accounts {self._path} cannot be read: {error!r}") from error
        return accounts


class Links:
    """The folder with one file per one-time link that is not spent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, name: str, now_utc_s: float) -> str:
        """A new secret that logs `name` in once. Also deletes links that have expired."""
        if not is_person_name(name):
            raise PkiError(f"{name!r} is no name of a person")
        make_folder(self._folder)
        for path in self._folder.glob("*.json"):
            if now_utc_s > path.stat().st_mtime + 2 * LINK_S:
                path.unlink(missing_ok=True)
        secret = secrets.token_urlsafe(32)
        content = json.dumps({"name": name, "expires": now_utc_s + LINK_S})
        replace_text(self._file(secret), content, mode=0o600)
        return secret

    def owner(self, secret: str, now_utc_s: float) -> str | None:
        """Who may log in with a secret; None for one that is unknown, spent or expired."""
        try:
            document = json.loads(self._file(secret).read_bytes())
            name, expires = document["name"], float(document["expires"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return name if is_person_name(name) and now_utc_s <= expires <= now_utc_s + LINK_S else None

    def spend(self, secret: str, now_utc_s: float) -> str | None:
        """The owner, once: the link is deleted before anyone is logged in."""
        name = self.owner(secret, now_utc_s)
        try:
            self._file(secret).unlink()
        except OSError:
            return None
        return name

    def _file(self, secret: str) -> Path:
        return self._folder / f"{hashlib.sha256(secret.encode('utf-8', 'replace')).hexdigest()}.json"
