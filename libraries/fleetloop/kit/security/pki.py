"""The certificate authority of a fleet.

On a cluster cert-manager or SPIRE may issue the certificates; services only see PEM files and cannot tell the
difference. Every call is idempotent: valid files are used again, and files appear whole or not at all.

The authority is renewed in three steps, with time between them for all to receive the files: `prepare` makes the next
authority, which all have to trust before it issues anything; `switch` issues from it; `retire` ends the trust in the
former one. `ca.pem` beside a certificate holds all that are trusted at the time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.kit.security.certificates import (
    PublicKey,
    authority,
    fleet_of,
    identity_of,
    key_id,
    leaf,
    load_certificate,
    names_for,
    pem_of,
    pem_of_key,
    serial_of,
    serial_of_pem,
    usages_for,
)
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.requests import read_request

__all__ = [
    "CA_LIFETIME",
    "LEAF_LIFETIME",
    "CertificateAuthority",
    "Credentials",
    "identity_of",
    "load_credentials",
    "serial_of",
    "serial_of_pem",
]
CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with its key, as files."""

    identity: Identity
    ca: Path
    cert: Path
    key: Path
    """Not there when its owner made a request and keeps the key."""
    serial: str
    """Serial number in lower-case hex, without leading zeros."""
    not_after: datetime
    issuer: str = ""
    """Short name of the key of the authority that issued it."""
    key_id: str = ""
    """Short name of its own key."""


def load_credentials(folder: Path) -> Credentials:
    """The certificate, key and CA in a folder. Raises PkiError if one is missing or cannot be read."""
    ca, cert, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    for path in (ca, cert, key):
        if not path.is_file():
            raise PkiError(f"there is no {path}")
    try:
        certificate = load_certificate(cert.read_bytes())
    except PkiError as error:
        raise PkiError(f"{cert} is not a PEM certificate") from error
    return Credentials(
        identity_of(certificate), ca, cert, key, serial_of(certificate), certificate.not_valid_after_utc
    )


def _replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    replace_bytes(path, content, mode=mode, sync=True)


class CertificateAuthority:
    """Issues identities for one fleet. Its key never leaves `folder`.

    Files: ca.pem and ca.key; next.pem and next.key between `prepare` and `switch`; former.pem until `retire`.
    """

    def __init__(
        self, folder: Path, fleet: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self._folder = folder
        self.fleet = fleet
        self._certificate = certificate
        self._key = key

    @classmethod
    def open(cls, folder: Path, *, fleet: str, now: datetime) -> CertificateAuthority:
        """Opens the authority in `folder`, or creates it if there is none.

        `now` has a time zone. Raises PkiError if the authority belongs to another fleet, is about to expire, or
        cannot be read.
        """
        Identity(fleet, IdentityKind.SERVICE, "check")  # raises PkiError for a bad name of a fleet
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            if not (folder / "ca.pem").exists():
                _make_pair(folder, "ca", fleet, now)
            _finish_switch(folder)
            certificate, key = _load_authority(folder)
        found = fleet_of(certificate)
        if found != fleet:
            raise PkiError(
                f"{folder} holds the authority of fleet {found}, not of {fleet}; "
                "use another folder, or set FLEETLOOP_FLEET_ID"
            )
        if now >= certificate.not_valid_after_utc - LEAF_LIFETIME / 12:
            raise PkiError(f"the authority in {folder} has expired or is about to; remove the folder and enrol again")
        return cls(folder, fleet, certificate, key)

    @property
    def ca_path(self) -> Path:
        """The certificate that issues now."""
        return self._folder / "ca.pem"

    @property
    def issuer(self) -> str:
        """Short name of the key that issues now."""
        return key_id(self._certificate)

    @property
    def not_after(self) -> datetime:
        """When the authority that issues now expires."""
        return self._certificate.not_valid_after_utc

    def trusted(self) -> bytes:
        """All certificates that are to be trusted now, as PEM: the one that issues, the next and the former one."""
        found = {pem_of(self._certificate): None}
        for name in ("next.pem", "former.pem"):
            path = self._folder / name
            if path.exists():
                found[pem_of(load_certificate(path.read_bytes()))] = None
        return b"".join(found)

    def next_issuer(self) -> str | None:
        """Short name of the key that `prepare` made and that issues nothing yet; None without one."""
        return self._name_of("next.pem")

    def former_issuer(self) -> str | None:
        """Short name of the key that issued until `switch` and is still trusted; None without one."""
        return self._name_of("former.pem")

    def _name_of(self, name: str) -> str | None:
        path = self._folder / name
        return key_id(load_certificate(path.read_bytes())) if path.exists() else None

    def prepare(self, now: datetime) -> None:
        """Makes the next authority, which is trusted from now on and issues nothing yet. Idempotent.

        Raises PkiError while a former authority is still trusted.
        """
        with _held(self._folder):
            if (self._folder / "former.pem").exists():
                raise PkiError("the former authority is still trusted; retire it first")
            if not (self._folder / "next.pem").exists():
                _make_pair(self._folder, "next", self.fleet, now)

    def switch(self) -> None:
        """Issues from the next authority from now on; the former one stays trusted, and its key is deleted.

        Raises PkiError unless `prepare` made one.
        """
        folder = self._folder
        with _held(folder):
            if not (folder / "next.pem").exists():
                raise PkiError("there is no next authority; prepare it first, and distribute the trust in it")
            _replace(folder / "former.pem", (folder / "ca.pem").read_bytes())
            _replace(folder / "ca.key", (folder / "next.key").read_bytes(), 0o600)  # from here, open finishes it
            _finish_switch(folder)
            self._certificate, self._key = _load_authority(folder)

    def retire(self) -> None:
        """Ends the trust in the former authority. Idempotent."""
        with _held(self._folder):
            (self._folder / "former.pem").unlink(missing_ok=True)

    def issue(
        self,
        kind: IdentityKind,
        name: str,
        folder: Path,
        *,
        now: datetime,
        lifetime: timedelta = LEAF_LIFETIME,
        hosts: Sequence[str] = _LOCAL_HOSTS,
        renew: bool = False,
    ) -> Credentials:
        """Issues a certificate: cert.pem, key.pem (mode 0600) and ca.pem in `folder`.

        A certificate that is there is used again, unless it is in the last third of its lifetime, belongs to another
        identity or authority, lacks one of `hosts`, which only services have, or `renew` is set. Raises PkiError for
        an invalid name.
        """
        identity = Identity(self.fleet, kind, name)
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            certificate = None if renew else self._still_good(folder, identity, hosts, now)
            if certificate is None:
                key = ec.generate_private_key(ec.SECP256R1())
                certificate = leaf(identity, key.public_key(), self._certificate, self._key, now, lifetime, hosts)
                # The key first, because a certificate without its key would look like a complete identity.
                _replace(folder / "key.pem", pem_of_key(key), 0o600)
                self._write_trust(folder)
                _replace(folder / "cert.pem", pem_of(certificate))
            self._write_trust(folder)
        return self._credentials(folder, identity, certificate)

    def sign(
        self,
        identity: Identity,
        request: bytes,
        folder: Path,
        *,
        now: datetime,
        lifetime: timedelta = LEAF_LIFETIME,
        renew: bool = False,
    ) -> Credentials:
        """Issues a certificate for the key of a signing request: cert.pem and ca.pem in `folder`.

        A certificate of the same key that is there is used again, as by `issue`.

        Raises PkiError if the request is of another identity, its key is weak, or it is damaged.
        """
        key = read_request(request, identity)
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            certificate = None if renew else self._still_good(folder, identity, (), now, key)
            if certificate is None:
                certificate = leaf(identity, key, self._certificate, self._key, now, lifetime, ())
                self._write_trust(folder)
                _replace(folder / "cert.pem", pem_of(certificate))
            self._write_trust(folder)
        return self._credentials(folder, identity, certificate)

    def _write_trust(self, folder: Path) -> None:
        path, trusted = folder / "ca.pem", self.trusted()
        if not path.exists() or path.read_bytes() != trusted:
            _replace(path, trusted)

    def _credentials(self, folder: Path, identity: Identity, certificate: x509.Certificate) -> Credentials:
        return Credentials(
            identity,
            folder / "ca.pem",
            folder / "cert.pem",
            folder / "key.pem",
            serial_of(certificate),
            certificate.not_valid_after_utc,
            self.issuer,
            key_id(certificate),
        )

    def _still_good(
        self, folder: Path, who: Identity, hosts: Sequence[str], now: datetime, key: PublicKey | None = None
    ) -> x509.Certificate | None:
        """The certificate in `folder`, if it need not be issued again. Without `key` its key is in key.pem."""
        try:
            certificate = load_certificate((folder / "cert.pem").read_bytes())
            if key is None:
                own = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
                same = own.public_key() == certificate.public_key()
            else:
                same = key == certificate.public_key()
            certificate.verify_directly_issued_by(self._certificate)
            same = same and identity_of(certificate) == who
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, PkiError):
            return None  # whatever is wrong with the files, they are issued again
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        fresh = begin <= now < end - (end - begin) / 3
        wanted = names_for(who, hosts)
        named = set(names) >= set(wanted) and set(usages) == set(usages_for(who))
        return certificate if same and fresh and named else None


def _make_pair(folder: Path, name: str, fleet: str, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    _replace(folder / f"{name}.key", pem_of_key(key), 0o600)
    _replace(folder / f"{name}.pem", pem_of(authority(fleet, key, now, CA_LIFETIME)))


def _finish_switch(folder: Path) -> None:
    """Finishes a switch that wrote ca.key, whatever it still lacks."""
    following, current = folder / "next.pem", folder / "ca.key"
    if not following.exists() or not current.exists():
        return
    try:
        key = serialization.load_pem_private_key(current.read_bytes(), None)
    except ValueError:
        return  # loading the authority says what is wrong with it
    if key.public_key() == load_certificate(following.read_bytes()).public_key():
        _replace(folder / "ca.pem", following.read_bytes())
        (folder / "next.key").unlink(missing_ok=True)
        following.unlink()


def _load_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except (OSError, ValueError) as error:
        raise PkiError(
            f"the authority in {folder} cannot be read ({error}); remove the folder and enrol again"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise PkiError(f"ca.key in {folder} does not belong to ca.pem; remove the folder and enrol again")
    return certificate, key


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds the lock of the folder, so that only one process at a time writes to it."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
