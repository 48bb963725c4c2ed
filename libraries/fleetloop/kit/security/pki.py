"""The certificate authority of an embedded run, which has mTLS everywhere.

On a cluster cert-manager or SPIRE issues the certificates; services only see PEM files and cannot tell the
difference. A certificate names its identity as a SPIFFE URI in the subject alternative name. Every call is
idempotent: valid files are used again, and files appear whole or not at all.
"""

from __future__ import annotations

import fcntl
import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
_BACKDATE = timedelta(minutes=5)
"""Certificates are valid from this long before they are issued, because clocks of vehicles differ."""
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with its key, as files."""

    identity: Identity
    ca: Path
    cert: Path
    key: Path
    serial: str
    """Serial number in lower-case hex, without leading zeros."""
    not_after: datetime


def serial_of(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def serial_of_pem(pem: bytes) -> str:
    """The serial number of a PEM certificate, such as gRPC's `x509_pem_cert`. Raises PkiError for other bytes."""
    try:
        return serial_of(x509.load_pem_x509_certificate(pem))
    except ValueError as error:
        raise PkiError("these bytes are not a PEM certificate") from error


def identity_of(certificate: x509.Certificate) -> Identity:
    """The identity that a certificate names. Raises PkiError unless it has exactly one SPIFFE URI."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise PkiError("the certificate has no subject alternative names") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise PkiError(f"the certificate has {len(uris)} URIs; it must have exactly one SPIFFE id")
    return Identity.parse(uris[0])


def load_credentials(folder: Path) -> Credentials:
    """The certificate, key and CA in a folder. Raises PkiError if one is missing or cannot be read."""
    ca, cert, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    for path in (ca, cert, key):
        if not path.is_file():
            raise PkiError(f"there is no {path}")
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
    except ValueError as error:
        raise PkiError(f"{cert} is not a PEM certificate") from error
    return Credentials(
        identity_of(certificate), ca, cert, key, serial_of(certificate), certificate.not_valid_after_utc
    )


def _replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    replace_bytes(path, content, mode=mode, sync=True)


class CertificateAuthority:
    """Issues identities for one fleet. Its key never leaves `folder`."""

    def __init__(
        self, folder: Path, fleet: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self._folder = folder
        self.fleet = fleet
        self._certificate = certificate
        self._key = key

    @classmethod
    def open(cls, folder: Path, *, fleet: str, now: datetime) -> CertificateAuthority:
        """Opens the authority in `folder` (ca.pem, ca.key), or creates it if there is none.

        `now` has a time zone. Raises PkiError if the authority belongs to another fleet, is about to expire, or
        cannot be read.
        """
        Identity(fleet, IdentityKind.SERVICE, "check")  # raises PkiError for a bad name of a fleet
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            if not (folder / "ca.pem").exists():
                _make_authority(folder, fleet, now)
            certificate, key = _load_authority(folder)
        found = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        if found != [fleet]:
            raise PkiError(
                f"{folder} holds the authority of fleet {found[0] if found else '?'}, not of {fleet}; "
                "use another folder, or set FLEETLOOP_FLEET_ID"
            )
        if now >= certificate.not_valid_after_utc - LEAF_LIFETIME / 12:
            raise PkiError(f"the authority in {folder} has expired or is about to; remove the folder and enrol again")
        return cls(folder, fleet, certificate, key)

    @property
    def ca_path(self) -> Path:
        return self._folder / "ca.pem"

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
        identity or authority, lacks one of `hosts`, or `renew` is set. Raises PkiError for an invalid name.
        """
        identity = Identity(self.fleet, kind, name)
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            known = None if renew else self._still_good(folder, identity, hosts, now)
            if known is not None:
                return known
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._sign(identity, key, now, lifetime, hosts)
            # The key first, because a certificate without its key would look like a complete identity.
            _replace(folder / "key.pem", _pem_of(key), 0o600)
            _replace(folder / "ca.pem", self._certificate.public_bytes(serialization.Encoding.PEM))
            _replace(folder / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM))
        return self._credentials(folder, identity, certificate)

    def _credentials(self, folder: Path, identity: Identity, certificate: x509.Certificate) -> Credentials:
        return Credentials(
            identity,
            folder / "ca.pem",
            folder / "cert.pem",
            folder / "key.pem",
            serial_of(certificate),
            certificate.not_valid_after_utc,
        )

    def _still_good(self, folder: Path, who: Identity, hosts: Sequence[str], now: datetime) -> Credentials | None:
        try:
            certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
            key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
            certificate.verify_directly_issued_by(self._certificate)
            same = identity_of(certificate) == who and key.public_key() == certificate.public_key()
            anchored = (folder / "ca.pem").read_bytes() == self.ca_path.read_bytes()
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except Exception:  # whatever is wrong with the files, they are issued again
            return None
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        fresh = begin <= now < end - (end - begin) / 3
        covers = all(_general_name(host) in names for host in hosts)
        return self._credentials(folder, who, certificate) if same and anchored and fresh and covers else None

    def _sign(
        self,
        identity: Identity,
        key: ec.EllipticCurvePrivateKey,
        now: datetime,
        lifetime: timedelta,
        hosts: Sequence[str],
    ) -> x509.Certificate:
        names = [x509.UniformResourceIdentifier(identity.uri), *(_general_name(host) for host in hosts)]
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        return (
            x509.CertificateBuilder()
            .subject_name(_subject(self.fleet, f"{identity.kind} {identity.name}"[:64]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(min(now + lifetime, self._certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_issued_by(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _make_authority(folder: Path, fleet: str, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(fleet, "fleetloop embedded authority")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_issued_by(key), critical=False)
        .sign(key, hashes.SHA256())
    )
    _replace(folder / "ca.key", _pem_of(key), 0o600)
    _replace(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))


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


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _subject(fleet: str, name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, fleet), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _issued_by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds the lock of the folder, so that only one process at a time writes to it."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
