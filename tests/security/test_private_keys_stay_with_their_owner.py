"""Enrolment by signing request: the key is made where it is used, and a request for anybody else is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.callers import Callers, channel

from fleetloop.api.enrolment import Enrolment
from fleetloop.domain.access import load_access
from fleetloop.errors import UserError
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import load_credentials
from fleetloop.kit.security.requests import make_request, read_request
from fleetloop.layout import RunLayout

NOW = datetime.now(UTC)
ANN = Identity("f", IdentityKind.USER, "ann")
PEM = "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n"
HEALTH = "/grpc.health.v1.Health/Check"
USER, VEHICLE = IdentityKind.USER, IdentityKind.VEHICLE


def request_of(key: Any, *uris: str, hosts: tuple[str, ...] = (), algorithm: Any = None) -> bytes:
    """A request as anybody could make it."""
    names: list[x509.GeneralName] = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, hosts)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(("kind", "roles"), [(USER, ["operator"]), (VEHICLE, None)])
async def test_a_requested_certificate_is_accepted_and_its_key_was_never_elsewhere(
    tmp_path: Path, kind: IdentityKind, roles: list[str] | None
) -> None:
    callers, run, own = Callers(tmp_path), RunLayout.at(tmp_path / "run"), tmp_path / "own"
    (run.root / "identities").mkdir(parents=True)
    (run.identities / "authority").symlink_to(tmp_path / "authority")
    request = Enrolment(RunLayout.at(tmp_path / "elsewhere"), "f").request("ann", kind=kind, out=own)
    assert not (tmp_path / "elsewhere").exists(), "a request needs no authority"
    key = (own / "key.pem").read_bytes()
    issued = Enrolment(run, "f").enrol("ann", kind=kind, roles=roles, request=request, now=NOW)
    assert not issued.key.exists()
    assert [path for path in run.root.rglob("*") if path.is_file() and path.read_bytes() == key] == []
    for name in ("cert.pem", "ca.pem"):
        (own / name).write_bytes((issued.cert.parent / name).read_bytes())
    assert (own / "key.pem").stat().st_mode & 0o777 == 0o600
    settings = callers.settings("label-desk").model_copy(update={"admission_list": run.admission_list})
    server = RpcServer("label-desk", settings, load_access(Path("config")))
    await server.start([])
    try:
        async with channel("label-desk", server.port, load_credentials(own)) as opened:
            await opened.unary_unary(HEALTH)(b"", timeout=5)
    finally:
        await server.stop(0)


def test_the_same_request_gives_the_same_certificate_and_a_renewal_a_new_one(tmp_path: Path) -> None:
    enrolment = Enrolment(RunLayout.at(tmp_path / "run"), "f")
    request = enrolment.request("VIN1", kind=VEHICLE, out=tmp_path / "own")
    first = enrolment.enrol("VIN1", request=request, now=NOW)
    assert enrolment.enrol("VIN1", request=request, now=NOW) == first
    assert enrolment.enrol("VIN1", request=request, now=NOW, renew=True).serial != first.serial
    assert enrolment.request("VIN1", kind=VEHICLE, out=tmp_path / "own") == request


def test_a_key_that_was_revoked_is_never_enrolled_again_by_any_name(tmp_path: Path) -> None:
    enrolment = Enrolment(RunLayout.at(tmp_path / "run"), "f")
    stolen = enrolment.request("ann", kind=USER, out=tmp_path / "stolen")
    enrolment.enrol("ann", kind=USER, roles=["operator"], request=stolen, now=NOW)
    enrolment.revoke("ann", kind=USER, now=NOW, reason="laptop stolen")
    fresh = enrolment.request("ann", kind=USER, out=tmp_path / "fresh")
    for _ in range(2):  # also once the entry is of another key
        stolen = enrolment.request("ann", kind=USER, out=tmp_path / "stolen")
        with pytest.raises(UserError, match="the key of this request was revoked; make a new one"):
            enrolment.enrol("ann", kind=USER, request=stolen, now=NOW)
        other_name = enrolment.request("ben", kind=USER, out=tmp_path / "stolen")
        with pytest.raises(UserError, match="the key of this request was revoked"):
            enrolment.enrol("ben", kind=USER, roles=["operator"], request=other_name, now=NOW)
        assert not (tmp_path / "run" / "identities" / "users" / "ben").exists(), "nothing was signed"
        enrolment.enrol("ann", kind=USER, request=fresh, now=NOW)
    (entry,) = enrolment.entries(USER)
    assert (entry.revoked, entry.roles) == (None, ("operator",))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: request_of(ec_key(), "spiffe://f/user/ben", algorithm=hashes.SHA256()), "is of spiffe://f/user/ben"),
        (lambda: request_of(ec_key(), "spiffe://f/vehicle/ann", algorithm=hashes.SHA256()), "is of spiffe://f/vehicle"),
        (lambda: request_of(ec_key(), "spiffe://f/service/ann", algorithm=hashes.SHA256()), "is of spiffe://f/service"),
        (lambda: request_of(ec_key(), "spiffe://g/user/ann", algorithm=hashes.SHA256()), "is of spiffe://g/user/ann"),
        (lambda: request_of(ec_key(), algorithm=hashes.SHA256()), "no subject alternative name"),
        (lambda: request_of(ec_key(), ANN.uri, "spiffe://f/user/ben", algorithm=hashes.SHA256()), "has 2 URIs"),
        (
            lambda: request_of(ec_key(), ANN.uri, hosts=("label-desk",), algorithm=hashes.SHA256()),
            "subject alternative name: the request has more names",
        ),
        (
            lambda: request_of(ec.generate_private_key(ec.SECP192R1()), ANN.uri, algorithm=hashes.SHA256()),
            "public key: the curve secp192r1 is not accepted",
        ),
        (
            lambda: request_of(ec.generate_private_key(ec.SECP256K1()), ANN.uri, algorithm=hashes.SHA256()),
            "public key: the curve secp256k1 is not accepted",
        ),
        (
            lambda: request_of(rsa.generate_private_key(65537, 1024), ANN.uri, algorithm=hashes.SHA256()),
            "public key: RSA with 1024 bits",
        ),
        (
            lambda: request_of(rsa.generate_private_key(3, 3072), ANN.uri, algorithm=hashes.SHA256()),
            "the exponent 3 is not accepted",
        ),
        (lambda: request_of(ed25519.Ed25519PrivateKey.generate(), ANN.uri), "public key: "),
        (
            lambda: request_of(dsa.generate_private_key(2048), ANN.uri, algorithm=hashes.SHA256()),
            "public key: ",
        ),
        (lambda: b"", "not a certificate signing request"),
        (lambda: PEM.format("AAAA").encode(), "not a certificate signing request"),
        (lambda: b"x" * 20_000, "has 20000 bytes"),
    ],
)  # fmt: skip
def test_a_request_for_another_or_with_a_weak_key_is_refused_by_field_and_remedy(
    tmp_path: Path, make: Callable[[], bytes], field: str
) -> None:
    (tmp_path / "request.pem").write_bytes(make())
    enrolment = Enrolment(RunLayout.at(tmp_path / "run"), "f")
    with pytest.raises(UserError) as caught:
        enrolment.enrol("ann", kind=USER, roles=["lead"], request=tmp_path / "request.pem", now=NOW)
    assert field in caught.value.message
    assert "fleetloop users request ann" in caught.value.message or "use an ECDSA key" in caught.value.message
    assert enrolment.entries() == ()
    assert not (tmp_path / "run" / "identities" / "users").exists()


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1])
def test_strong_keys_of_other_makers_are_accepted(curve: type[ec.EllipticCurve]) -> None:
    read_request(request_of(ec.generate_private_key(curve()), ANN.uri, algorithm=hashes.SHA256()), ANN)
    read_request(request_of(rsa.generate_private_key(65537, 3072), ANN.uri, algorithm=hashes.SHA256()), ANN)


def test_a_request_that_is_signed_with_another_key_is_refused(tmp_path: Path) -> None:
    der = bytearray(x509.load_pem_x509_csr(make_request(ANN, tmp_path).read_bytes()).public_bytes(
        serialization.Encoding.DER
    ))  # fmt: skip
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(PkiError, match="signature: the request is not signed with its own key"):
        read_request(forged, ANN)


@given(content=st.binary(max_size=400), at=st.integers(0, 500), text=st.booleans())
def test_no_damaged_request_is_accepted_or_fails_in_another_way(content: bytes, at: int, text: bool) -> None:
    genuine = request_of(ec_key(), ANN.uri, algorithm=hashes.SHA256())
    damaged = genuine[:at] + content if text else content
    if damaged.startswith(genuine.rstrip()):
        return
    with pytest.raises(PkiError):
        read_request(damaged, ANN)


def test_a_key_that_cannot_be_used_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("mine")
    with pytest.raises(PkiError, match=r"key\.pem is not an unencrypted private key"):
        make_request(ANN, tmp_path)
    assert (tmp_path / "key.pem").read_text() == "mine"
