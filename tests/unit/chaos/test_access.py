"""Each harm to a user's access concerns that user only, and all of it is put right again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import access
from tests.chaos.access import LABELS, Access

from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.kit.messaging.permissions import Rule


class Broker:
    """Notes what it was told last."""

    passwords: Mapping[str, str]
    rules: set[Rule]
    quotas: Mapping[str, Mapping[str, float]]

    async def grant(
        self,
        options: Mapping[str, Any],
        passwords: Mapping[str, str],
        rules: Iterable[Rule],
        quotas: Mapping[str, Mapping[str, float]],
    ) -> None:
        assert options == {"bootstrap_servers": "127.0.0.1:1"}
        self.passwords, self.rules, self.quotas = passwords, set(rules), quotas

    def state(self) -> tuple[dict[str, str], set[Rule], dict[str, Mapping[str, float]]]:
        return dict(self.passwords), self.rules, dict(self.quotas)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(access, "grant", broker.grant)
    return broker


@pytest.fixture
def users(tmp_path: Path) -> Access:
    users = KafkaUsers(tmp_path)
    users.create(LABELS.values())
    return Access("127.0.0.1:1", users)


async def test_each_harm_concerns_one_user_and_is_put_right(broker: Broker, users: Access) -> None:
    await users.restore()
    good = broker.state()
    assert users.environment("label_desk")["FLEETLOOP_KAFKA_PASSWORD"] == good[0]["label-desk"]
    assert {each.user for each in good[1]} >= set(LABELS.values())

    await users.change_password("label_desk")
    assert {name for name in good[0] if good[0][name] != broker.passwords[name]} == {"label-desk"}
    assert broker.state()[1:] == good[1:]

    await users.withdraw_rights("label_desk")
    assert {each.user for each in good[1] - broker.rules} == {"label-desk"}
    assert not any(each.user == "label-desk" for each in broker.rules)
    assert (broker.passwords, broker.quotas) == (good[0], good[2])

    await users.limit("label_desk", {"producer_byte_rate": 5.0})
    assert broker.state() == (*good[:2], {**good[2], "label-desk": {"producer_byte_rate": 5.0}})

    await users.restore()
    assert broker.state() == good
