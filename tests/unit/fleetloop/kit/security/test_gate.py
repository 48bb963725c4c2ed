"""The gate lets a call pass exactly when certificate, admission list and policy all allow it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.refusal import PermissionDeniedError, RefusedError, UnavailableError
from fleetloop.kit.security.access import AccessPolicy, Rule
from fleetloop.kit.security.admission import Admission
from fleetloop.kit.security.gate import ON_BEHALF_OF, ROLES, Gate
from fleetloop.kit.security.identity import Identity

POLICY = AccessPolicy(
    {"red": "", "blue": ""},
    {
        "a.A/Red": Rule(roles=("red",)),
        "a.A/Both": Rule(roles=("red", "blue"), services=("desk",)),
        "a.A/Desk": Rule(services=("desk", "console")),
        "b.B/*": Rule(vehicles=True),
        "b.B/None": Rule(),
    },
    ("console",),
)
RULES = {  # written down a second time: roles, services, vehicles
    "/a.A/Red": ({"red"}, set(), False),
    "/a.A/Both": ({"red", "blue"}, {"desk"}, False),
    "/a.A/Desk": (set(), {"desk", "console"}, False),
    "/b.B/Any": (set(), set(), True),
    "/b.B/None": (set(), set(), False),
    "/c.C/Any": (set(), set(), False),
}
HEALTH = "/grpc.health.v1.Health/Check"


@dataclass
class List:
    """An admission list in memory."""

    entries: dict[str, Admission] = field(default_factory=dict)
    readable: bool = True

    def find(self, who: Identity) -> Admission | None:
        if not self.readable:
            raise UnavailableError("the admission list cannot be read")
        return self.entries.get(who.uri)

    def admitted(self, who: Identity, serial: str | None) -> Admission:
        entry = self.find(who)
        refusal = "not enrolled" if entry is None else entry.refusal_text(serial)
        if entry is None or refusal:
            raise PermissionDeniedError(refusal)
        return entry


NAMES = st.sampled_from(["desk", "console", "ann"])
ENTRIES = st.none() | st.tuples(
    st.sampled_from(["", "1", "2"]), st.booleans(), st.lists(st.sampled_from(["red", "blue", "gone"]), unique=True)
)


@given(
    owner=st.builds(Identity, st.sampled_from(["f", "g"]), st.sampled_from(["user", "service", "vehicle"]), NAMES),
    entry=ENTRIES,
    method=st.sampled_from([*RULES, HEALTH]),
    person=st.none() | st.tuples(st.sampled_from(["eve", "a b"]), st.lists(st.sampled_from(["red", "blue", "king"]))),
    eve=st.sampled_from([None, "admitted", "revoked"]),
)
def test_a_call_passes_exactly_when_all_three_allow_it(
    owner: Identity,
    entry: tuple[str, bool, list[str]] | None,
    method: str,
    person: tuple[str, list[str]] | None,
    eve: str | None,
) -> None:
    known = List()
    if entry is not None:
        serial, revoked, roles = entry
        known.entries[owner.uri] = Admission(owner.uri, serial, "", "now" if revoked else None, "", tuple(roles))
    if eve is not None:
        uri = "spiffe://f/user/eve"
        known.entries[uri] = Admission(uri, "9", "", "now" if eve == "revoked" else None, "", ("red", "blue"))
    metadata = [] if person is None else [(ON_BEHALF_OF, person[0]), (ROLES, ",".join(person[1]))]

    admitted = owner.fleet_id == "f" and entry is not None and not entry[1] and entry[0] in ("", "1")
    named, services, vehicles = RULES.get(method, (set(), set(), False))
    if method == HEALTH:
        allowed = admitted
    elif person is not None:
        well_formed = person[0] == "eve" and "king" not in person[1]
        speaks = (owner.kind, owner.name) == ("service", "console") and well_formed and eve != "revoked"
        allowed = admitted and speaks and bool(named & set(person[1]))
    elif owner.kind == "user":
        allowed = admitted and entry is not None and bool(named & set(entry[2]))
    else:
        allowed = admitted and (owner.name in services if owner.kind == "service" else vehicles)

    gate = Gate("f", POLICY, known)
    try:
        found = gate.check(owner, "1", method, metadata)
    except RefusedError:
        assert not allowed
        return
    assert allowed
    if person is not None and method != HEALTH:
        assert (found.identity, found.roles) == (Identity("f", "user", "eve"), tuple(person[1]))
    else:
        assert found.identity == owner
    known.readable = False
    with pytest.raises(UnavailableError):
        gate.check(owner, "1", method, metadata)
