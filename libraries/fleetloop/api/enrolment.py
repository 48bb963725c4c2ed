"""Enrol and revoke vehicles: a certificate and key for the vehicle, and an entry in the gateway's admission list."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fleetloop.errors import UserError
from fleetloop.kit.security.admission import Admission, AdmissionList, admit, revoke
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import CertificateAuthority, Credentials
from fleetloop.layout import RunLayout


class Enrolment:
    """Enrols the vehicles of one fleet. All methods raise UserError with a remedy.

    Args:
        layout: The run's folder, which holds the certificate authority and the admission list.
        fleet_id: Part of every vehicle's identity.
    """

    def __init__(self, layout: RunLayout, fleet_id: str) -> None:
        self._layout = layout
        self._fleet_id = fleet_id

    def enrol(self, vehicle: str, *, now: datetime, out: Path | None = None, renew: bool = False) -> Credentials:
        """Issue a certificate and admit the vehicle. Idempotent.

        After a revocation, or with `renew`, a new certificate replaces the old one, which is then refused.

        Args:
            vehicle: The vehicle's id, for example its VIN.
            now: The current time, from which the certificate is valid.
            out: Folder for cert.pem, key.pem and ca.pem; `identities/vehicles/<vehicle>` in the run by default.
            renew: Issue a new certificate although the old one is valid.
        """
        try:
            who = Identity(self._fleet_id, IdentityKind.VEHICLE, vehicle)
            authority = CertificateAuthority.open(
                self._layout.identities / "authority", fleet=self._fleet_id, now=now
            )
            revoked = any(each.spiffe_id == who.uri and each.revoked for each in self.entries())
            folder = (out or self._layout.identities / "vehicles" / vehicle).resolve()
            issued = authority.issue(IdentityKind.VEHICLE, vehicle, folder, now=now, renew=renew or revoked)
            admit(self._layout.vehicle_register, who, issued.serial, now=now)
        except PkiError as error:
            raise UserError(f"{error}.", "Nothing was enrolled.") from error
        except OSError as error:
            raise UserError(
                f"The certificate cannot be written: {error}.", "Give another folder with --out."
            ) from error
        return issued

    def revoke(self, vehicle: str, *, now: datetime, reason: str = "") -> Admission:
        """Revoke a vehicle's admission. The gateway refuses it from its next message. Idempotent."""
        try:
            who = Identity(self._fleet_id, IdentityKind.VEHICLE, vehicle)
            return revoke(self._layout.vehicle_register, who, now=now, reason=reason)
        except PkiError as error:
            raise UserError(f"{error}.", "Nothing was revoked.") from error

    def entries(self) -> tuple[Admission, ...]:
        """Return all enrolled vehicles, including revoked ones, sorted by name."""
        return AdmissionList(self._layout.vehicle_register).entries()
