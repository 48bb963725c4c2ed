"""Renew the fleet's certificate authority while everything runs: both authorities are trusted in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.kit.security.admission import AdmissionList
from fleetloop.kit.security.certificates import load_certificate
from fleetloop.kit.security.identity import PkiError
from fleetloop.kit.security.pki import CertificateAuthority
from fleetloop.layout import RunLayout


@dataclass(frozen=True, slots=True)
class AuthorityStatus:
    """Where a renewal stands."""

    issuer: str
    """Short name of the key that issues now."""
    not_after: datetime
    next_issuer: str | None
    """The authority that is prepared and issues nothing yet."""
    former_issuer: str | None
    """The authority that issues no more and is still trusted."""
    waiting: tuple[str, ...]
    """Who still has a certificate that the current authority did not issue, or whose issuer is not known."""


class Authority:
    """The authority of a run's folder. All methods raise UserError with a remedy.

    Args:
        layout: The run's folder.
        fleet_id: The fleet.
        now: The current time.
    """

    def __init__(self, layout: RunLayout, fleet_id: str, now: datetime) -> None:
        self._layout = layout
        self._now = now
        folder = layout.identities / "authority"
        if not (folder / "ca.pem").exists():
            raise UserError(f"There is no authority in {folder}.", "`fleetloop up` or an enrolment creates one.")
        try:
            self._authority = CertificateAuthority.open(folder, fleet=fleet_id, now=now)
        except PkiError as error:
            raise UserError(f"{error}.", "Nothing was changed.") from error

    def status(self) -> AuthorityStatus:
        """Return where the renewal stands."""
        authority = self._authority
        return AuthorityStatus(
            authority.issuer,
            authority.not_after,
            authority.next_issuer(),
            authority.former_issuer(),
            tuple(sorted(self._waiting())),
        )

    def prepare(self) -> None:
        """Make the next authority and trust it in every identity of this folder. Idempotent."""
        try:
            self._authority.prepare(self._now)
        except PkiError as error:
            raise UserError(f"{error}.", "`fleetloop authority status` shows where the renewal stands.") from error
        self._spread_trust()

    def switch(self) -> None:
        """Issue from the next authority from now on. The former one stays trusted."""
        try:
            self._authority.switch()
        except PkiError as error:
            raise UserError(f"{error}.", "`fleetloop authority prepare` makes it.") from error
        self._spread_trust()

    def retire(self, *, force: bool = False) -> None:
        """End the trust in the former authority. Refused while anybody admitted still needs it, unless `force`."""
        waiting = sorted(self._waiting()) if self._authority.former_issuer() is not None else []
        if waiting and not force:
            few = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
            raise UserError(
                f"{few} still have certificates of the former authority.",
                "Enrol them again, and start services again with `fleetloop up`; --force retires it all the same.",
            )
        self._authority.retire()
        self._spread_trust()

    def _waiting(self) -> Iterator[str]:
        for entry in AdmissionList(self._layout.admission_list).entries():
            if entry.revoked is None and entry.serial and entry.issuer != self._authority.issuer:
                yield entry.spiffe_id
        for folder in ("services/*", "cluster/*/*/*"):
            for path in self._layout.identities.glob(f"{folder}/cert.pem"):
                if not self._is_of_current(path):
                    yield f"the service in {path.parent}"

    def _is_of_current(self, path: Path) -> bool:
        try:
            load_certificate(path.read_bytes()).verify_directly_issued_by(
                load_certificate(self._authority.ca_path.read_bytes())
            )
        except Exception:  # a certificate that cannot be read or verified is not of the current authority
            return False
        return True

    def _spread_trust(self) -> None:
        """Write what is trusted now beside every certificate of this folder."""
        trusted = self._authority.trusted()
        for path in self._layout.identities.rglob("cert.pem"):
            replace_bytes(path.with_name("ca.pem"), trusted, mode=0o644, sync=True)
