"""Gives a vehicle its identity and takes it away: certificate and key for the vehicle, a line for the gateway."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fleetloop.errors import UserError
from fleetloop.kit.security.admission import Admission, AdmissionList, admit, revoke
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import CertificateAuthority, Credentials
from fleetloop.layout import RunLayout


class Enrolment:
    """Of one fleet, below one run's folder. All methods raise UserError with what to do."""

    def __init__(self, layout: RunLayout, fleet_id: str) -> None:
        self._layout = layout
        self._fleet_id = fleet_id

    def enrol(self, vehicle: str, *, now: datetime, out: Path | None = None, renew: bool = False) -> Credentials:
        """cert.pem, key.pem and ca.pem in `out` (identities/vehicles/<vehicle> by default), admitted from now on.

        Repeating it changes nothing; after a revocation, or with `renew`, there is a new certificate and the old
        one is no longer accepted.
        """
        try:
            who = Identity(self._fleet_id, IdentityKind.VEHICLE, vehicle)
            authority = CertificateAuthority.open(
                self._layout.identities / "authority", fleet=self._fleet_id, now=now
            )
            gone = any(each.spiffe_id == who.uri and each.revoked for each in self.entries())
            folder = (out or self._layout.identities / "vehicles" / vehicle).resolve()
            issued = authority.issue(IdentityKind.VEHICLE, vehicle, folder, now=now, renew=renew or gone)
            admit(self._layout.vehicle_register, who, issued.serial, now=now)
        except PkiError as error:
            raise UserError(f"{error}.", "Nothing was enrolled.") from error
        except OSError as error:
            raise UserError(
                f"The certificate cannot be written: {error}.", "Give another folder with --out."
            ) from error
        return issued

    def revoke(self, vehicle: str, *, now: datetime, reason: str = "") -> Admission:
        """The gateway refuses the vehicle from the next message on."""
        try:
            who = Identity(self._fleet_id, IdentityKind.VEHICLE, vehicle)
            return revoke(self._layout.vehicle_register, who, now=now, reason=reason)
        except PkiError as error:
            raise UserError(f"{error}.", "Nothing was revoked.") from error

    def entries(self) -> tuple[Admission, ...]:
        """Everybody who was ever enrolled, by name."""
        return AdmissionList(self._layout.vehicle_register).entries()
