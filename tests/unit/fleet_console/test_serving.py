"""Whose websocket the pages take."""

from __future__ import annotations

import pytest

from fleet_console.serving import own_origin


@pytest.mark.parametrize(
    ("page_origin", "origin", "environ", "taken"),
    [
        ("", "http://localhost:8080", {"HTTP_HOST": "localhost:8080"}, True),
        ("", "https://fleet.example.org", {"HTTP_HOST": "fleet.example.org"}, True),
        ("", "https://fleet.example.org", {"HTTP_HOST": "10.0.0.7:8080"}, False),
        (
            "",
            "https://fleet.example.org",
            {"HTTP_HOST": "10.0.0.7:8080", "HTTP_X_FORWARDED_HOST": "fleet.example.org, inner"},
            True,
        ),
        ("", "https://evil.example", {"HTTP_HOST": "fleet.example.org"}, False),
        ("", "null", {"HTTP_HOST": "fleet.example.org"}, False),
        ("", "null", {}, False),
        ("https://fleet.example.org", "https://fleet.example.org", {"HTTP_HOST": "10.0.0.7:8080"}, True),
        ("https://fleet.example.org", "http://fleet.example.org", {"HTTP_HOST": "fleet.example.org"}, False),
        ("https://fleet.example.org", "https://evil.example", {"HTTP_X_FORWARDED_HOST": "evil.example"}, False),
    ],
)
def test_only_the_pages_own_origin_is_taken(
    page_origin: str, origin: str, environ: dict[str, str], taken: bool
) -> None:
    assert own_origin(page_origin)(origin, environ) is taken
