"""One defence of SECURITY.md: the change that removes it, and the test that has to fail without it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.defences.planted import Change

_QUICK = ("tests/unit/", "tests/contract/", "tests/security/")
_SLOW = {
    "tests/security/test_kafka_denies_by_default.py",
    "tests/security/test_the_provider_decides_who_you_are.py",
}
"""Tests of those folders that need a broker or an identity provider."""


@dataclass(frozen=True, slots=True)
class Defence:
    """One part of the defence against one threat, which can be removed by itself."""

    threat: str
    """Text of the threat's column in SECURITY.md."""
    name: str
    """What holds no more once the changes are made."""
    changes: tuple[Change, ...]
    test: str
    """Path of the tests, which the threat's row links."""
    only: str = ""
    """Expression for pytest's -k; all tests of the file without it."""

    @property
    def is_quick(self) -> bool:
        """Whether the tests need no broker, browser or identity provider."""
        return self.test.startswith(_QUICK) and self.test not in _SLOW
