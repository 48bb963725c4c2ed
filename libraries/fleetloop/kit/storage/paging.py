"""Pages of long lists, newest first. A page continues where the last one ended, whatever was added meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetloop.kit.refusal import InvalidArgumentError

USUAL_ROWS, MOST_ROWS = 100, 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows a request asks for. Rows have a number that rises with time."""

    size: int
    before: int | None
    """Only rows with a smaller number; None starts at the newest."""

    def next_token(self, numbers: Sequence[int]) -> str:
        """The token of the next page, given the numbers of `size` + 1 rows; empty when there is none."""
        return str(numbers[self.size - 1]) if len(numbers) > self.size else ""


FIRST_PAGE = Page(USUAL_ROWS, None)


def page_of(page_size: int, page_token: str) -> Page:
    """The page that a request asks for. Raises InvalidArgumentError when the token is malformed."""
    if page_token and not (page_token.isascii() and page_token.isdigit() and len(page_token) < 19):
        raise InvalidArgumentError(
            "give the last answer's next_page_token, or nothing for the first page", "page_token"
        )
    return Page(min(page_size or USUAL_ROWS, MOST_ROWS), int(page_token) if page_token else None)
