"""Who labels: behind a proxy only the name in its header, otherwise the name that the browser keeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_console.people import COOKIE, NoNameError, cleaned, labeller
from fleetloop.kit.security.identity import is_person_name


@pytest.mark.parametrize(
    ("cookie", "name"), [("ann.lee", "ann.lee"), ("", None), ("a b", None), ("..%2Fann", None), ("ann%20", None)]
)
def test_the_browsers_name_is_taken_only_when_it_is_one(cookie: str, name: str | None) -> None:
    assert labeller({}, {COOKIE: cookie} if cookie else {}, "") == name


def test_behind_a_proxy_only_its_word_counts() -> None:
    cookies = {COOKIE: "mallory"}
    assert labeller({"X-User": "ann@example.org"}, cookies, "X-User") == "ann-at-example.org"
    with pytest.raises(NoNameError, match="sent no X-User"):
        labeller({}, cookies, "X-User")
    with pytest.raises(NoNameError, match="cannot be made"):
        labeller({"X-User": "@@@"}, cookies, "X-User")


def test_without_a_proxy_its_header_counts_for_nothing() -> None:
    assert labeller({"X-User": "mallory"}, {COOKIE: "ann"}, "") == "ann"


@given(st.text(min_size=1, max_size=40))
def test_a_cleaned_name_is_stable_and_has_no_foreign_signs(said: str) -> None:
    name = cleaned(said)
    assert cleaned(name) == name
    assert not name or is_person_name("a" + name[:60])
