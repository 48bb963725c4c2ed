from __future__ import annotations

import pytest

from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError, parse_spiffe_id


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        ("spiffe://demo/vehicle/car-1", Identity("demo", "vehicle", "car-1")),
        ("spiffe://demo/vehicle/", None),
        ("spiffe://demo/vehicle/a/b", None),
        ("spiffe://demo/admin/root", None),
        ("spiffe://Demo/vehicle/a", None),
        ("https://demo/vehicle/car-1", None),
        ("", None),
    ],
)
def test_spiffe_ids_are_read_or_refused(uri: str, identity: Identity | None) -> None:
    assert parse_spiffe_id(uri) == identity


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        (("demo", "admin", "root"), "the kind 'admin' is unknown; there are service, vehicle, user"),
        (("Demo", "user", "ann"), "fleet 'Demo': use up to 63 of a-z"),
        (("demo", "user", "*"), "user name '\\*': use up to 63 of A-Z"),
        (("demo", "user", ""), "user name '': use up to 63 of A-Z"),
    ],
)
def test_no_identity_has_parts_that_a_certificate_could_not_have(parts: tuple[str, str, str], error: str) -> None:
    with pytest.raises(PkiError, match=error):
        Identity(*parts)


def test_an_identity_is_written_with_its_fleet_and_without() -> None:
    who = Identity("demo", IdentityKind.VEHICLE, "car-1")
    assert (str(who), who.uri) == ("vehicle/car-1", "spiffe://demo/vehicle/car-1")
    assert Identity.parse(who.uri) == who == Identity("demo", "vehicle", "car-1")
