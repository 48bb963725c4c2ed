"""Decisions about messages that were set aside: the role counts at the moment of each, and a discard has a reason."""

from __future__ import annotations

import pytest
from tests.unit.fleet_console.visits import Hands, visit_of

from fleet_console.handling import Handling, HandlingError, details, row
from fleetloop.domain.dead_letters import dead_letter_of
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.settings import ServiceSettings

SETTINGS = ServiceSettings(kafka_bootstrap_servers="127.0.0.1:1")
WHERE = "fleet.clip.v1/0/1"


@pytest.mark.parametrize("roles", [(), ("labeller",), ("lead", "ml-engineer", "release-manager", "subscriber")])
async def test_only_operators_may_read_or_decide_even_without_the_page(roles: tuple[str, ...]) -> None:
    handling = Handling(SETTINGS, {}, visit_of("ann", *roles), Hands())
    for work in (handling.newest(), handling.get(WHERE), handling.retry(WHERE, ""), handling.discard(WHERE, "why")):
        with pytest.raises(HandlingError, match="needs the role operator"):
            await work


async def test_nothing_is_decided_after_the_session() -> None:
    visit = visit_of("ann", "operator")
    visit.session.ended.set()
    with pytest.raises(HandlingError, match="log in again"):
        await Handling(SETTINGS, {}, visit, Hands()).retry(WHERE, "")


async def test_a_discard_needs_a_reason_and_ids_are_checked() -> None:
    handling = Handling(SETTINGS, {}, visit_of("ann", "operator"), Hands())
    with pytest.raises(HandlingError, match="give a reason"):
        await handling.discard(WHERE, "  ")
    for where in ("", "fleet.clip.v1", "fleet.clip.v1/x/1", "fleet.clip.v1/0/-1", "a/b/c/d"):
        with pytest.raises(HandlingError, match="is not <topic>"):
            await handling.retry(where, "")
    with pytest.raises(HandlingError, match="has no dead-letter queue"):
        await handling.get("fleet.unknown.v1/0/0")


def test_headers_of_any_length_and_kind_can_be_shown() -> None:
    headers = [("reason", b"r" * 100_000), ("error", b"\xff\x00" * 5000), ("attempts", b"many"), ("error_type", b"")]
    letter = dead_letter_of(Record("fleet.clip.v1.dlq", 0, 7, b"\xff", b"v" * 100_000, headers, 0), {})
    assert all(len(str(value)) <= 300 for value in row(letter).values())
    assert sum(map(len, details(letter).values())) < 7000
