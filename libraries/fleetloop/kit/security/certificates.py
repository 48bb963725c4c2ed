"""What our certificates say: how they are built, and how their identity is read.

A certificate of a service can be used as server and as client, one of a vehicle or a person as client only. That of a
service carries a DNS name that follows from its identity, which clients verify: another certificate of the fleet
cannot stand in for it, whatever its other host names are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError

BACKDATE = timedelta(minutes=5)
"""Certificates are valid from this long before they are issued, because clocks of vehicles differ."""
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def serial_of(certificate: x509.Certificate) -> str:
    """Serial number in lower-case hex, without leading zeros."""
    return f"{certificate.serial_number:x}"


def serial_of_pem(pem: bytes) -> str:
    """The serial number of a PEM certificate, such as gRPC's `x509_pem_cert`. Raises PkiError for other bytes."""
    return serial_of(load_certificate(pem))


def load_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate of PEM bytes. Raises PkiError for other bytes."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise PkiError("these bytes are not a PEM certificate") from error


def identity_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> Identity:
    """The identity that a certificate or a request names. Raises PkiError unless it has exactly one SPIFFE URI."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise PkiError("the certificate has no subject alternative names") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise PkiError(f"the certificate has {len(uris)} URIs; it must have exactly one SPIFFE id")
    return Identity.parse(uris[0])


def server_name(service: Identity) -> str:
    """The DNS name that clients expect in the certificate of a service."""
    return f"{service.name}.service.{service.fleet_id}.fleetloop.internal".lower()


def key_id(certificate: x509.Certificate) -> str:
    """A short name of the certificate's key."""
    return public_key_id(certificate.public_key())  # type: ignore[arg-type]


def public_key_id(key: PublicKey) -> str:
    """A short name of a key."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()[:16]


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def names_for(identity: Identity, hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    """The names in a certificate. Only a service has host names."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    if identity.kind == IdentityKind.SERVICE:
        names += [x509.DNSName(server_name(identity)), *map(_general_name, hosts)]
    return x509.SubjectAlternativeName(names)


def usages_for(identity: Identity) -> x509.ExtendedKeyUsage:
    """What a certificate may be used for."""
    server = [ExtendedKeyUsageOID.SERVER_AUTH] if identity.kind == IdentityKind.SERVICE else []
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, *server])


def leaf(
    identity: Identity,
    key: PublicKey,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    lifetime: timedelta,
    hosts: Sequence[str],
) -> x509.Certificate:
    """A certificate of a service, vehicle or person."""
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(identity.fleet_id, f"{identity.kind} {identity.name}"[:64]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
        .add_extension(names_for(identity, hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(usages_for(identity), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_issued_by(issuer_key), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def authority(fleet: str, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta) -> x509.Certificate:
    """The self-signed certificate of a fleet's authority."""
    subject = _subject(fleet, "fleetloop embedded authority")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_issued_by(key), critical=False)
        .sign(key, hashes.SHA256())
    )


def fleet_of(certificate: x509.Certificate) -> str:
    """The fleet that an authority's certificate names; `?` when it names none."""
    found = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return found[0] if len(found) == 1 else "?"


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
