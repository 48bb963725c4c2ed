from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.storage.paging import MOST_ROWS, USUAL_ROWS, page_of


@given(st.lists(st.integers(1, 10**6), unique=True, max_size=60), st.integers(1, 20))
def test_pages_have_every_row_once_and_in_order(numbers: list[int], size: int) -> None:
    rows = sorted(numbers, reverse=True)
    seen: list[int] = []
    token, pages = "", 0
    while True:
        page = page_of(size, token)
        found = [n for n in rows if page.before is None or n < page.before][: page.size + 1]
        seen += found[: page.size]
        token, pages = page.next_token(found), pages + 1
        if not token:
            break
    assert seen == rows
    assert pages == max(1, -(-len(rows) // size))


def test_a_page_has_a_usual_size_and_a_bound() -> None:
    assert (page_of(0, "").size, page_of(10**9, "").size) == (USUAL_ROWS, MOST_ROWS)


@pytest.mark.parametrize("token", ["x", "-1", "1 ", "٣", "9" * 30, "1; drop"])
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(RefusedError, match="page_token: give the last answer's next_page_token"):
        page_of(10, token)
