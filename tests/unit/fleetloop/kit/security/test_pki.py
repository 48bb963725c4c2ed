"""The authority issues what mTLS needs, repeats itself safely, and a real TLS handshake agrees with it."""

from __future__ import annotations

import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.security import certificates
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import (
    LEAF_LIFETIME,
    CertificateAuthority,
    Credentials,
    identity_of,
    serial_of,
    serial_of_pem,
)

NOW = datetime.now(UTC).replace(microsecond=0)  # the handshake below checks against the real clock
VEHICLE = IdentityKind.VEHICLE


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path / "ca", fleet="demo", now=NOW)


def _certificate(credentials: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credentials.cert.read_bytes())


@given(
    fleet=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True),
    kind=st.sampled_from(IdentityKind),
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
)
def test_an_id_survives_being_written_and_read(fleet: str, kind: IdentityKind, name: str) -> None:
    who = Identity(fleet, kind, name)
    assert Identity.parse(who.uri) == who


@pytest.mark.parametrize(
    "uri",
    [
        "https://demo/vehicle/a",
        "spiffe://demo/vehicle",
        "spiffe://demo/vehicle/a/b",
        "spiffe://demo/person/a",
        "spiffe:///vehicle/a",
        "spiffe://demo/vehicle/../../service/gateway",
        "spiffe://demo/vehicle/a\n",
        "",
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(PkiError):
        Identity.parse(uri)


def test_the_certificate_says_who_where_and_what_for(authority: CertificateAuthority, tmp_path: Path) -> None:
    credentials = authority.issue(VEHICLE, "WDB-1", tmp_path / "v", now=NOW)
    certificate = _certificate(credentials)
    assert identity_of(certificate).uri == "spiffe://demo/vehicle/WDB-1"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == []
    assert certificate.not_valid_after_utc == credentials.not_after == NOW + LEAF_LIFETIME
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert serial_of(certificate) == credentials.serial == serial_of_pem(credentials.cert.read_bytes())
    assert stat.S_IMODE(credentials.key.stat().st_mode) == 0o600
    assert stat.S_IMODE((authority.ca_path.parent / "ca.key").stat().st_mode) == 0o600


def test_only_a_service_may_be_a_server_and_has_the_name_that_clients_expect(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    for kind in IdentityKind:
        certificate = _certificate(authority.issue(kind, "Desk_1", tmp_path / kind, now=NOW))
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = names.get_values_for_type(x509.DNSName)
        if kind is IdentityKind.SERVICE:
            assert usages == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
            assert hosts == ["desk_1.service.demo.fleetloop.internal", "localhost"]
        else:
            assert (usages, hosts) == ({ExtendedKeyUsageOID.CLIENT_AUTH}, [])


def test_a_certificate_of_the_former_kind_is_issued_again(
    authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "usages_for", lambda identity: both)
        former = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    assert authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW).serial != former.serial


def test_a_damaged_trust_file_is_written_again_and_the_certificate_kept(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    first = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    (tmp_path / "v" / "ca.pem").write_bytes(b"torn")
    assert authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW) == first
    assert first.ca.read_bytes() == authority.trusted()


def test_a_second_run_uses_what_is_there(authority: CertificateAuthority, tmp_path: Path) -> None:
    first = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    again = CertificateAuthority.open(tmp_path / "ca", fleet="demo", now=NOW + timedelta(days=1))
    assert again.issue(VEHICLE, "a", tmp_path / "v", now=NOW + timedelta(days=1)) == first


@pytest.mark.parametrize("days, renewed", [(240, False), (245, True)])
def test_the_last_third_of_a_lifetime_renews(
    authority: CertificateAuthority, tmp_path: Path, days: int, renewed: bool
) -> None:
    first = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    later = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW + timedelta(days=days))
    assert (later.serial != first.serial) is renewed


@pytest.mark.parametrize("damage", ["cert.pem", "key.pem"])
def test_a_damaged_identity_is_made_anew(authority: CertificateAuthority, tmp_path: Path, damage: str) -> None:
    first = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    (tmp_path / "v" / damage).write_bytes(b"torn")
    second = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    assert second.serial != first.serial
    key = serialization.load_pem_private_key(second.key.read_bytes(), None)
    assert key.public_key() == _certificate(second).public_key()


def test_an_identity_of_somebody_else_or_of_another_authority_is_replaced(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    first = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    other = authority.issue(VEHICLE, "b", tmp_path / "v", now=NOW)
    assert other.serial != first.serial
    stranger = CertificateAuthority.open(tmp_path / "ca2", fleet="demo", now=NOW)
    assert stranger.issue(VEHICLE, "b", tmp_path / "v", now=NOW).serial != other.serial


def test_a_host_that_is_wanted_and_missing_renews(authority: CertificateAuthority, tmp_path: Path) -> None:
    first = authority.issue(IdentityKind.SERVICE, "gateway", tmp_path / "s", now=NOW)
    wider = authority.issue(
        IdentityKind.SERVICE, "gateway", tmp_path / "s", now=NOW, hosts=("localhost", "gateway.fleet", "10.0.0.7")
    )
    assert wider.serial != first.serial


def test_an_authority_serves_one_fleet_and_does_not_outlive_itself(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, fleet="demo", now=NOW)
    with pytest.raises(PkiError, match="fleet demo, not of other"):
        CertificateAuthority.open(tmp_path, fleet="other", now=NOW)
    with pytest.raises(PkiError, match="expired"):
        CertificateAuthority.open(tmp_path, fleet="demo", now=NOW + timedelta(days=3649))


def test_an_authority_whose_key_is_lost_says_what_to_do(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, fleet="demo", now=NOW)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(PkiError, match=r"ca\.key.*remove the folder"):
        CertificateAuthority.open(tmp_path, fleet="demo", now=NOW)


def test_many_at_once_make_one_authority_and_one_identity(tmp_path: Path) -> None:
    def enrol(_: int) -> str:
        authority = CertificateAuthority.open(tmp_path / "ca", fleet="demo", now=NOW)
        return authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW).serial

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(enrol, range(16)))) == 1


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, object]:
    """Both ends in memory; returns what the server sees of the client's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    waiting = True
    while waiting:
        waiting = False
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
    seen = ends[1].getpeercert()
    assert seen is not None
    return dict(seen)


def test_a_real_handshake_in_both_directions(authority: CertificateAuthority, tmp_path: Path) -> None:
    def context(purpose: int, credentials: Credentials) -> ssl.SSLContext:
        made = ssl.SSLContext(purpose)
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        made.load_verify_locations(credentials.ca)
        made.load_cert_chain(credentials.cert, credentials.key)
        return made

    gateway = authority.issue(IdentityKind.SERVICE, "gateway", tmp_path / "s", now=NOW)
    vehicle = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    seen = _handshake(context(ssl.PROTOCOL_TLS_CLIENT, vehicle), context(ssl.PROTOCOL_TLS_SERVER, gateway))
    assert ("URI", "spiffe://demo/vehicle/a") in seen["subjectAltName"]  # type: ignore[operator]

    stranger = CertificateAuthority.open(tmp_path / "ca2", fleet="demo", now=NOW)
    false = stranger.issue(VEHICLE, "a", tmp_path / "f", now=NOW)
    mixed = context(ssl.PROTOCOL_TLS_CLIENT, false)
    mixed.load_verify_locations(gateway.ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(mixed, context(ssl.PROTOCOL_TLS_SERVER, gateway))


async def test_grpc_takes_the_certificates_and_shows_the_server_who_calls(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    gateway = authority.issue(IdentityKind.SERVICE, "gateway", tmp_path / "s", now=NOW)
    vehicle = authority.issue(VEHICLE, "a", tmp_path / "v", now=NOW)
    seen: dict[str, bytes] = {}

    async def call(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        seen.update({name: values[0] for name, values in context.auth_context().items()})
        return request

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(call)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Call": handler}),))
    pair = (gateway.key.read_bytes(), gateway.cert.read_bytes())
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([pair], gateway.ca.read_bytes(), require_client_auth=True)
    )
    await server.start()
    client = grpc.ssl_channel_credentials(
        vehicle.ca.read_bytes(), vehicle.key.read_bytes(), vehicle.cert.read_bytes()
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", client) as channel:
        assert await channel.unary_unary("/test.Echo/Call")(b"hello", timeout=10) == b"hello"
    await server.stop(None)
    assert seen["peer_spiffe_id"] == b"spiffe://demo/vehicle/a"
    assert serial_of_pem(seen["x509_pem_cert"]) == vehicle.serial
