"""Stored passwords and one-time links: they prove what was given, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.kit.security.identity import PkiError
from fleetloop.kit.security.passwords import (
    LINK_S,
    LONGEST,
    SHORTEST,
    Accounts,
    Links,
    hash_password,
    password_matches,
)

GOOD = "correct horse battery"
STORED = hash_password(GOOD)


def test_only_the_same_password_matches_and_each_hash_has_its_own_salt() -> None:
    assert password_matches(STORED, GOOD)
    assert hash_password(GOOD) != STORED
    for other in ("", GOOD + " ", GOOD.upper(), GOOD[:-1], "x" * (LONGEST + 1)):
        assert not password_matches(STORED, other)
    assert not password_matches(None, GOOD)
    assert not password_matches(None, "")


@settings(max_examples=25)
@given(st.text(max_size=60))
def test_a_damaged_record_matches_nothing(stored: str) -> None:
    assert not password_matches(stored, GOOD)


@pytest.mark.parametrize(
    "stored",
    [
        STORED.replace("scrypt$32768", "scrypt$2"),
        STORED.replace("scrypt", "plain"),
        STORED.rpartition("$")[0] + "$",
        STORED.rpartition("$")[0],
        STORED + "$",
    ],
)
def test_weaker_costs_and_other_kinds_match_nothing(stored: str) -> None:
    assert not password_matches(stored, GOOD)


@pytest.mark.parametrize("password", ["", "x" * (SHORTEST - 1), "x" * (LONGEST + 1)])
def test_short_and_endless_passwords_are_refused(password: str, tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="12 to 256"):
        Accounts(tmp_path / "accounts.json").set("ann", password)
    assert not (tmp_path / "accounts.json").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 2, "accounts": {}}', '{"format": 1, "accounts": [1]}']
)
def test_a_file_that_cannot_be_read_is_no_empty_one(content: str, tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    assert Accounts(path).find("ann") is None
    path.write_text(content)
    with pytest.raises(PkiError, match="cannot be read"):
        Accounts(path).find("ann")
    with pytest.raises(PkiError, match="cannot be read"):
        Accounts(path).set("ann", GOOD)
    assert path.read_text() == content, "nothing is lost"


def test_a_link_is_spent_once_and_old_ones_are_deleted(tmp_path: Path) -> None:
    links = Links(tmp_path / "links")
    secret = links.make("ann", 1000.0)
    assert links.owner(secret, 1000.0 + LINK_S) == "ann"
    assert links.owner(secret, 1001.0 + LINK_S) is None
    assert links.spend(secret, 1000.0) == "ann"
    assert links.spend(secret, 1000.0) is None
    late = links.make("ann", 1000.0)
    assert links.spend(late, 1001.0 + LINK_S) is None
    links.make("ann", 0.0)
    links.make("ann", 1e12)
    assert len(list((tmp_path / "links").iterdir())) == 1
    for name in ("../ann", "", "a b"):
        with pytest.raises(PkiError):
            links.make(name, 0.0)
