"""Sessions: whatever happens in whatever order, a token works exactly as long as it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fleet_console.visits import Hands, Roles, S, sessions_of

from fleet_console.login.sessions import MOST_OF_ONE_PERSON, Person, SessionEndedError, Visit
from fleetloop.kit.refusal import PermissionDeniedError, UnavailableError

IDLE_S, LONGEST_S = 60, 600
NAMES = ("ann", "ben")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("log in"), st.sampled_from(NAMES)),
        st.tuples(st.sampled_from(["use", "log out", "log out everywhere", "log in again"]), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(1, 90)),
        st.tuples(st.sampled_from(["revoke", "admit"]), st.sampled_from(NAMES)),
        st.tuples(st.just("sweep"), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_a_token_works_as_long_as_the_rules_say_and_never_again(steps: list[tuple[str, object]]) -> None:
    clock, standing = Hands(), Roles()
    sessions = sessions_of(standing, clock, IDLE_S, LONGEST_S)
    model: dict[str, tuple[str, int, int]] = {}
    """Token -> name, start and last use, for those that should work."""
    all_tokens: list[str] = []

    def prune() -> None:
        for token, (name, start, used) in list(model.items()):
            if clock.ns - used > IDLE_S * S or clock.ns - start > LONGEST_S * S or name in standing.revoked:
                del model[token]

    for step, value in steps:
        token = all_tokens[value % len(all_tokens)] if isinstance(value, int) and all_tokens else ""
        if step in ("log in", "log in again"):
            name = str(value) if step == "log in" else model.get(token, ("ann", 0, 0))[0]
            former = token if step == "log in again" else ""
            if name in standing.revoked:
                with pytest.raises(PermissionDeniedError):
                    sessions.start(Person(name, from_provider=True), former)
                continue
            new = sessions.start(Person(name, from_provider=True), former)
            model.pop(former, None)
            assert new not in all_tokens
            all_tokens.append(new)
            model[new] = (name, clock.ns, clock.ns)
        elif step == "use":
            session = sessions.find(token)
            if session is not None and token in model:
                sessions.touch(session)
                model[token] = (*model[token][:2], clock.ns)
        elif step.startswith("log out"):
            if token in model:
                name = model[token][0]
                everywhere = step.endswith("everywhere")
                for other in [t for t, each in model.items() if t == token or (everywhere and each[0] == name)]:
                    del model[other]
            sessions.end(token, everywhere=step.endswith("everywhere"))
        elif step == "wait":
            clock.ns += int(str(value)) * S
        elif step == "revoke":
            standing.revoked.add(str(value))
            sessions.sweep()
        elif step == "admit":
            standing.revoked.discard(str(value))
        else:
            sessions.sweep()
        prune()
        for each in all_tokens:
            found = sessions.find(each)
            assert (found is not None) is (each in model), step


def test_the_session_that_was_not_used_for_longest_makes_place() -> None:
    clock = Hands()
    sessions = sessions_of(Roles(), clock)
    tokens = []
    for _ in range(MOST_OF_ONE_PERSON + 2):
        clock.ns += 1
        tokens.append(sessions.start(Person("ann", from_provider=True)))
    assert [token for token in tokens if sessions.find(token) is None] == tokens[:2]


def test_what_cannot_be_decided_neither_acts_nor_ends() -> None:
    standing, clock = Roles(), Hands()
    sessions = sessions_of(standing, clock)
    token = sessions.start(Person("ann", from_provider=True, roles=("labeller",)))
    session = sessions.find(token)
    assert session is not None
    standing.unknown = True
    with pytest.raises(UnavailableError):
        Visit(session, sessions).metadata()
    sessions.sweep()
    standing.unknown = False
    assert dict(Visit(session, sessions).metadata())["fleetloop-roles"] == "labeller"
    standing.revoked.add("ann")
    with pytest.raises(SessionEndedError):
        Visit(session, sessions).metadata()
    standing.revoked.clear()
    with pytest.raises(SessionEndedError):
        Visit(session, sessions).metadata()


def test_each_end_is_told_once() -> None:
    sessions = sessions_of(Roles(), Hands())
    token = sessions.start(Person("ann", from_provider=True))
    session, told = sessions.find(token), []
    assert session is not None
    session.on_end.append(lambda: told.append(1))
    sessions.end(token)
    sessions.end(token)
    sessions.sweep()
    assert told == [1]
    assert session.ended.is_set()
