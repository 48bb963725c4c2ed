"""Set the users, rights and quotas of a broker to those that the topic catalogue gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from fleetloop.kit.messaging.admin_requests import (
    ALLOW,
    LITERAL,
    OPERATIONS,
    PREFIXED,
    RESOURCES,
    Acl,
    CreateAcls,
    DeleteAcls,
    DescribeAcls,
    SetPasswords,
    SetQuotas,
)
from fleetloop.kit.messaging.permissions import QUOTA_KEYS, Rule
from fleetloop.kit.messaging.topics import TopicCatalogueError


async def grant(
    options: Mapping[str, Any],
    passwords: Mapping[str, str],
    rules: Iterable[Rule],
    quotas: Mapping[str, Mapping[str, float]],
) -> None:
    """Set passwords, rights and quotas of all users. Rights that no rule grants are withdrawn. Idempotent.

    Args:
        options: Options of a client that has every right.
        passwords: The password of each user. Rules for other users are left out.
        rules: What the users may do.
        quotas: Their limits, by user and quota.

    Raises TopicCatalogueError if the broker refuses any of it.
    """
    names = list(passwords)
    expected = {acl for rule in rules if rule.user in names for acl in _acls_of(rule)}
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        node = admin._client.get_random_node()
        _check(await admin._send_request_to_node(node, SetPasswords(passwords)))
        described = await admin._send_request_to_node(node, DescribeAcls())
        _check(described)
        present = {
            Acl(kind, name, pattern, principal, host, operation, permission)
            for kind, name, pattern, acls in described.resources
            for principal, host, operation, permission in acls
        }
        if present - expected:
            _check(await admin._send_request_to_node(node, DeleteAcls(sorted(present - expected))))
        if expected - present:
            _check(await admin._send_request_to_node(node, CreateAcls(sorted(expected - present))))
        limits = {name: {key: quotas.get(name, {}).get(key) for key in QUOTA_KEYS} for name in names}
        _check(await admin._send_request_to_node(node, SetQuotas(limits)))
    finally:
        await admin.close()


def _acls_of(rule: Rule) -> list[Acl]:
    pattern = PREFIXED if rule.prefixed else LITERAL
    return [
        Acl(RESOURCES[rule.kind], rule.name, pattern, f"User:{rule.user}", "*", OPERATIONS[operation], ALLOW)
        for operation in rule.operations
    ]


def _check(response: Any) -> None:
    """Raise TopicCatalogueError for the first error that the response has, at whatever level."""
    answer = response.to_object()
    parts = [answer]
    for key in ("results", "creation_responses", "filter_responses", "entries"):
        parts += answer.get(key, [])
    for part in parts:
        if part.get("error_code"):
            raise TopicCatalogueError(
                f"the broker refused users, rights or quotas: error {part['error_code']}: {part.get('error_message')}"
            )
