"""A renewed certificate asks for a restart, replicas one after the other."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from fleetloop.kit.process.renewal import RenewalWatch
from fleetloop.kit.testing import ManualClock


def test_a_renewed_certificate_asks_for_a_restart_within_its_time(tmp_path: Path) -> None:
    certificate, clock = tmp_path / "tls.crt", ManualClock()
    certificate.write_text("old")
    watch = RenewalWatch([certificate], "label-desk/label-desk-0", 100.0, clock)
    assert watch.problem() is None
    certificate.write_text("new")
    watch.problem()
    clock.advance(100.0)
    said = watch.problem()
    assert said is not None
    assert str(certificate) in said


def test_the_same_certificate_or_none_for_a_moment_is_no_renewal(tmp_path: Path) -> None:
    certificate, clock = tmp_path / "tls.crt", ManualClock()
    certificate.write_text("old")
    watch = RenewalWatch([certificate], "a", 0.0, clock)
    certificate.unlink()
    assert watch.problem() is None
    certificate.write_text("old")
    clock.advance(1e6)
    assert watch.problem() is None


def test_replicas_do_not_restart_at_once(tmp_path: Path) -> None:
    certificate, clock = tmp_path / "tls.crt", ManualClock()
    certificate.write_text("old")
    watches = [RenewalWatch([certificate], f"gateway/gateway-{n}", 3600.0, clock) for n in range(8)]
    certificate.write_text("new")
    due = []
    for _ in range(3601):
        due.append(sum(watch.problem() is not None for watch in watches))
        clock.advance(1.0)
    assert due[-1] == len(watches)
    assert max(later - earlier for earlier, later in pairwise(due)) == 1


def test_a_change_of_the_trusted_authorities_restarts_too(tmp_path: Path) -> None:
    certificate, ca = tmp_path / "cert.pem", tmp_path / "ca.pem"
    certificate.write_bytes(b"cert")
    ca.write_bytes(b"one")
    watch = RenewalWatch([certificate, ca], "a", 0.0, ManualClock())
    assert watch.problem() is None
    ca.write_bytes(b"one, two")
    assert "was renewed" in str(watch.problem())
