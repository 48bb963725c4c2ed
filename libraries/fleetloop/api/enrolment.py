"""Enrol and revoke vehicles, people and services: a certificate, and an entry in the admission list.

These are the only functions that need the key of the certificate authority.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from fleetloop.api.installation import recorded_run
from fleetloop.domain.access import load_access
from fleetloop.errors import UserError
from fleetloop.kit.process.settings import SettingsError
from fleetloop.kit.security.access import AccessPolicy
from fleetloop.kit.security.admission import Admission, AdmissionList, admit, refuse_revoked_key, revoke, set_roles
from fleetloop.kit.security.certificates import public_key_id
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import CertificateAuthority, Credentials
from fleetloop.kit.security.requests import make_request, read_request
from fleetloop.layout import RunLayout
from fleetloop.shipped import config_folder


class Enrolment:
    """Enrols the vehicles, people and services of one fleet. All methods raise UserError with a remedy.

    Args:
        layout: The run's folder, which holds the certificate authority and the admission list.
        fleet_id: Part of every identity.
    """

    def __init__(self, layout: RunLayout, fleet_id: str) -> None:
        self._layout = layout
        self._fleet_id = fleet_id

    def enrol(
        self,
        name: str,
        *,
        now: datetime,
        kind: IdentityKind = IdentityKind.VEHICLE,
        roles: Collection[str] | None = None,
        out: Path | None = None,
        renew: bool = False,
        request: Path | None = None,
    ) -> Credentials:
        """Issue a certificate and admit its owner. Idempotent.

        After a revocation, or with `renew`, a new certificate replaces the old one, which is then refused. With a
        `request` of its owner, the key stays with the owner; otherwise it is made here.

        Args:
            name: The vehicle's id, for example its VIN, or the person's name.
            now: The current time, from which the certificate is valid.
            kind: What the name belongs to.
            roles: Roles of a person; None keeps those that the person has.
            out: Folder for cert.pem, key.pem and ca.pem; `identities/<kind>s/<name>` in the run by default.
            renew: Issue a new certificate although the old one is valid.
            request: The owner's signing request, which `make_request` wrote.
        """
        with _refusing("Nothing was enrolled."):
            who = Identity(self._fleet_id, kind, name)
            self._check_roles(kind, roles or ())
            authority = self._authority(now)
            revoked = any(each.spiffe_id == who.uri and each.revoked for each in self.entries())
            folder = (out or self._folder(who)).resolve()
            if request is None:
                issued = authority.issue(kind, name, folder, now=now, renew=renew or revoked)
            else:
                content = _read(request)
                refuse_revoked_key(self.entries(), who, public_key_id(read_request(content, who)))
                issued = authority.sign(who, content, folder, now=now, renew=renew or revoked)
            admit(
                self._layout.admission_list,
                who,
                issued.serial,
                now=now,
                roles=roles,
                issuer=issued.issuer,
                key=issued.key_id,
            )
        return issued

    def request(self, name: str, *, kind: IdentityKind, out: Path) -> Path:
        """Make a key and a signing request in `out`, where its owner is; return the request. Needs no authority."""
        with _refusing("Nothing was made."):
            return make_request(Identity(self._fleet_id, kind, name), out.resolve())

    def enrol_service(self, name: str, *, now: datetime) -> Admission:
        """Admit a service by its name, whatever certificate of the fleet's issuer it has. Idempotent."""
        with _refusing("Nothing was enrolled."):
            return admit(
                self._layout.admission_list, Identity(self._fleet_id, IdentityKind.SERVICE, name), "", now=now
            )

    def change_roles(self, user: str, *, add: Collection[str] = (), remove: Collection[str] = ()) -> Admission:
        """Give and take roles of a person. They hold from the person's next call. Idempotent."""
        with _refusing("No role was changed."):
            who = Identity(self._fleet_id, IdentityKind.USER, user)
            self._check_roles(IdentityKind.USER, add)
            return set_roles(self._layout.admission_list, who, add=add, remove=remove)

    def revoke(
        self, name: str, *, now: datetime, reason: str = "", kind: IdentityKind = IdentityKind.VEHICLE
    ) -> Admission:
        """Revoke an admission. Every server refuses the next message or call, and ends open calls. Idempotent."""
        with _refusing("Nothing was revoked."):
            who = Identity(self._fleet_id, kind, name)
            return revoke(self._layout.admission_list, who, now=now, reason=reason)

    def entries(self, kind: IdentityKind | None = None) -> tuple[Admission, ...]:
        """Return all entries of a kind, including revoked ones, sorted by name; of all kinds for None."""
        with _refusing("See the file."):
            found = AdmissionList(self._layout.admission_list).entries()
            return tuple(each for each in found if kind is None or Identity.parse(each.spiffe_id).kind == kind)

    def policy(self) -> AccessPolicy:
        """Return the access policy of the run, or of the configuration in force here."""
        state = recorded_run(self._layout)
        known = state.info.get("config_dir") if state is not None else None
        try:
            return load_access(Path(known) if known else config_folder())
        except SettingsError as error:
            raise UserError(f"{error}.", "Correct the file.") from error

    def _authority(self, now: datetime) -> CertificateAuthority:
        return CertificateAuthority.open(self._layout.identities / "authority", fleet=self._fleet_id, now=now)

    def _folder(self, who: Identity) -> Path:
        return self._layout.identities / f"{who.kind}s" / who.name

    def _check_roles(self, kind: IdentityKind, roles: Collection[str]) -> None:
        if not roles:
            return
        if kind != IdentityKind.USER:
            raise PkiError(f"a {kind} has no roles")
        known = self.policy().roles
        for role in roles:
            if role not in known:
                raise PkiError(f"there is no role {role!r}; access.yaml has {', '.join(known)}")


def _read(request: Path) -> bytes:
    try:
        return request.read_bytes()
    except OSError as error:
        raise PkiError(f"the request {request} cannot be read: {error.strerror}") from error


@contextmanager
def _refusing(remedy: str) -> Iterator[None]:
    """Turn errors within the block into a UserError."""
    try:
        yield
    except PkiError as error:
        raise UserError(f"{error}.", remedy) from error
    except OSError as error:
        raise UserError(f"The certificate cannot be written: {error}.", "Give another folder with --out.") from error
