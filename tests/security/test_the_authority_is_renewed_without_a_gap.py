"""Old and new certificates work together while the authority is renewed, and the old one is not needed afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from tests.callers import channel, policy_of

from fleetloop.api.authority import Authority
from fleetloop.api.enrolment import Enrolment
from fleetloop.errors import UserError
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security import pki
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority, Credentials, load_credentials
from fleetloop.layout import RunLayout

NOW = datetime.now(UTC)
HEALTH = "/grpc.health.v1.Health/Check"


class Fleet:
    """A run's folder with one service, and vehicles."""

    def __init__(self, folder: Path) -> None:
        self.layout = RunLayout.at(folder)
        self.enrolment = Enrolment(self.layout, "f")
        self.enrolment.enrol_service("label-desk", now=NOW)
        self.service()

    def service(self) -> Credentials:
        """The service's certificate, issued again if its authority is not the current one, as `up` does."""
        folder = self.layout.identities / "services" / "label_desk"
        return self.authority().issue(IdentityKind.SERVICE, "label-desk", folder, now=NOW)

    def authority(self) -> CertificateAuthority:
        return CertificateAuthority.open(self.layout.identities / "authority", fleet="f", now=NOW)

    def renewal(self) -> Authority:
        return Authority(self.layout, "f", NOW)

    async def server(self) -> RpcServer:
        """A server with the certificate and trust that are in the service's folder."""
        own = load_credentials(self.layout.identities / "services" / "label_desk")
        settings = ServiceSettings(
            fleet_id="f", kafka_bootstrap_servers="none:1", tls_ca=own.ca, tls_cert=own.cert, tls_key=own.key,
            admission_list=self.layout.admission_list,
        )  # fmt: skip
        server = RpcServer("label-desk", settings, policy_of({}))
        await server.start([])
        return server


async def reaches(own: Credentials, server: RpcServer) -> bool:
    async with channel("label-desk", server.port, own) as opened:
        try:
            await opened.unary_unary(HEALTH)(b"", timeout=2)
        except grpc.aio.AioRpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error.details()
            return False
    return True


def copy(own: Credentials, folder: Path) -> Credentials:
    """The files as an owner keeps them who has not heard of later ones."""
    folder.mkdir()
    for path in (own.ca, own.cert, own.key):
        (folder / path.name).write_bytes(path.read_bytes())
    return load_credentials(folder)


async def test_old_and_new_certificates_work_in_the_overlap_and_only_new_ones_after_it(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "run")
    early = fleet.enrolment.enrol("early", now=NOW)
    unheard = copy(early, tmp_path / "unheard")
    servers = [await fleet.server()]
    try:
        fleet.renewal().prepare()
        prepared = copy(load_credentials(early.cert.parent), tmp_path / "prepared")
        servers.append(await fleet.server())
        assert all([await reaches(each, server) for each in (unheard, prepared) for server in servers])

        fleet.renewal().switch()
        late = fleet.enrolment.enrol("late", now=NOW)
        fleet.service()  # the service starts again with a certificate of the new authority
        servers.append(await fleet.server())
        assert await reaches(late, servers[1]), "a server that has only been prepared accepts new certificates"
        assert await reaches(prepared, servers[2]), "a vehicle that has only been prepared accepts new servers"
        assert await reaches(late, servers[2])
        assert not await reaches(unheard, servers[2]), "who was never told of the new authority does not trust it"

        renewed = fleet.enrolment.enrol("early", now=NOW)
        fleet.renewal().retire()
        servers.append(await fleet.server())
        assert await reaches(load_credentials(renewed.cert.parent), servers[3])
        assert await reaches(load_credentials(late.cert.parent), servers[3])
        assert not await reaches(prepared, servers[3]), "the former authority counts for nothing"
        assert renewed.ca.read_bytes().count(b"BEGIN CERTIFICATE") == 1
        assert sorted(path.name for path in fleet.authority().ca_path.parent.glob("*.*")) == [
            ".lock", "ca.key", "ca.pem",
        ]  # fmt: skip
    finally:
        for server in servers:
            await server.stop(0)


def test_the_former_authority_is_not_retired_while_somebody_needs_it(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "run")
    fleet.enrolment.enrol("car", now=NOW)
    gone = fleet.enrolment.enrol("gone", now=NOW)
    fleet.enrolment.revoke("gone", now=NOW)
    fleet.renewal().prepare()
    fleet.renewal().switch()
    waiting = fleet.renewal().status().waiting
    assert "spiffe://f/vehicle/car" in waiting
    assert gone.identity.uri not in waiting
    assert any("label_desk" in each for each in waiting)
    with pytest.raises(UserError, match="still have certificates of the former authority"):
        fleet.renewal().retire()
    fleet.enrolment.enrol("car", now=NOW)
    with pytest.raises(UserError, match=r"the service in .*label_desk"):
        fleet.renewal().retire()
    fleet.service()
    assert fleet.renewal().status().waiting == ()
    fleet.renewal().retire()
    fleet.renewal().retire()
    assert fleet.renewal().status().former_issuer is None


def test_steps_out_of_order_are_refused_and_repeated_ones_change_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "run")
    with pytest.raises(UserError, match="no next authority; prepare it first"):
        fleet.renewal().switch()
    fleet.renewal().prepare()
    prepared = fleet.authority().trusted()
    fleet.renewal().prepare()
    assert fleet.authority().trusted() == prepared
    fleet.renewal().switch()
    with pytest.raises(UserError, match="retire it first"):
        fleet.renewal().prepare()


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("writes", range(5))
def test_a_switch_that_dies_is_finished_or_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    fleet = Fleet(tmp_path / "run")
    fleet.renewal().prepare()
    old, new = fleet.authority().issuer, fleet.authority().next_issuer()
    trusted = set(fleet.authority().trusted().split(b"-----END CERTIFICATE-----\n"))
    done: list[str] = []
    write, unlink = pki._replace, Path.unlink

    def count(name: str) -> None:
        if len(done) == writes:
            raise KilledError
        done.append(name)

    def counted(path: Path, content: bytes, mode: int = 0o644) -> None:
        count(path.name)
        write(path, content, mode)

    def counted_unlink(path: Path, missing_ok: bool = False) -> None:
        count(path.name)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(pki, "_replace", counted)
        patch.setattr(Path, "unlink", counted_unlink)
        with pytest.raises(KilledError):
            fleet.renewal().switch()
    found = fleet.authority()
    assert found.issuer == (old if writes < 2 else new)
    assert set(found.trusted().split(b"-----END CERTIFICATE-----\n")) == trusted, "no one loses the trust"
    if writes < 2:
        fleet.renewal().switch()
    assert (fleet.authority().issuer, fleet.authority().former_issuer()) == (new, old)
    assert not list(found.ca_path.parent.glob("next.*"))
