"""Anyone who guesses passwords of the console has to wait, and does not learn which names there are."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
from tests.security.test_the_console_asks_who_you_are import OWN, PASSWORD, Console, browser, console

from fleet_console.login import attempts
from fleet_console.login.attempts import FREE

__all__ = ["browser", "console"]


async def test_a_wrong_password_says_no_more_than_that_and_guessing_has_to_wait(
    console: Console, browser: httpx.AsyncClient
) -> None:
    console.accounts.set("ann", PASSWORD)
    answers = set()
    for name in ["unknown", *["ann"] * FREE]:
        form = {"name": name, "password": "wrong wrong wrong"}
        answer = await browser.post("/login", data=form, headers=OWN)
        answers.add((answer.status_code, "The name or the password is wrong." in answer.text))
    assert answers == {(403, True)}
    right = {"name": "ann", "password": PASSWORD}
    assert (await browser.post("/login", data=right, headers=OWN)).status_code == 429
    console.clock.ns += 3 * 10**9
    assert (await browser.post("/login", data=right, headers=OWN)).status_code == 303


async def test_guessing_under_many_names_has_to_wait_too(
    console: Console, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "IN_ALL", 4)
    for name in ("ann", "ben", "cid", "dee"):
        form = {"name": name, "password": "wrong wrong wrong"}
        assert (await browser.post("/login", data=form, headers=OWN)).status_code == 403
    assert (await browser.post("/login", data=form | {"name": "eve"}, headers=OWN)).status_code == 429


async def test_an_unknown_name_takes_as_long_as_a_known_one(
    console: Console, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.accounts.set("ann", PASSWORD)
    scrypt, costs = hashlib.scrypt, list[object]()

    def counted(given: bytes, **options: Any) -> bytes:
        costs.append([options[name] for name in ("n", "r", "p")])
        return scrypt(given, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    for name in ("ann", "unknown", "../no name"):
        await browser.post("/login", data={"name": name, "password": "wrong wrong wrong"}, headers=OWN)
    assert costs == [[2**15, 8, 1]] * 3
