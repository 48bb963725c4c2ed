"""Requests of Kafka's protocol that aiokafka has no calls for: users, their rights, and their quotas.

The fields are those of Kafka's own message definitions: AlterUserScramCredentials (51, version 0), CreateAcls (30,
version 1), DeleteAcls (31, 1), DescribeAcls (29, 1) and AlterClientQuotas (49, 0).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1, DescribeAclsRequest_v1
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Float64,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

_SCRAM_SHA_512 = 2
_ITERATIONS = 4096
"""The least that Kafka accepts. More only slow down guesses of weak passwords; these have 192 random bits."""
ANY = 1
ALLOW = 3
RESOURCES = {"topic": 2, "group": 3}
LITERAL, PREFIXED = 3, 4
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}


class Acl(NamedTuple):
    """One right, in the order of the protocol's fields."""

    resource: int
    name: str
    pattern: int
    principal: str
    host: str
    operation: int
    permission: int


class _ScramResponse(Response):  # type: ignore[misc,unused-ignore]
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ScramStruct(RequestStruct):  # type: ignore[misc,unused-ignore]
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _ScramResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class SetPasswords(Request[_ScramStruct]):  # type: ignore[misc,unused-ignore]
    """Set the passwords of users. They leave this process salted and hashed."""

    API_KEY = 51

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords

    def build(self, request_struct_class: type[_ScramStruct]) -> _ScramStruct:
        """Return the request."""
        upsertions: list[tuple[object, ...]] = []
        for user, password in self._passwords.items():
            salt = secrets.token_bytes(16)
            salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
            upsertions.append((user, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {}))
        return request_struct_class([], upsertions, {})


class DescribeAcls(Request[DescribeAclsRequest_v1]):  # type: ignore[misc,unused-ignore]
    """List all rights."""

    API_KEY = 29

    def build(self, request_struct_class: type[DescribeAclsRequest_v1]) -> DescribeAclsRequest_v1:
        """Return the request."""
        return request_struct_class(ANY, None, ANY, None, None, ANY, ANY)


class CreateAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc,unused-ignore]
    """Grant rights to users."""

    API_KEY = 30

    def __init__(self, acls: Sequence[Acl]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        """Return the request."""
        return request_struct_class([tuple(acl) for acl in self._acls])


class DeleteAcls(Request[DeleteAclsRequest_v1]):  # type: ignore[misc,unused-ignore]
    """Withdraw rights from users."""

    API_KEY = 31

    def __init__(self, acls: Sequence[Acl]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[DeleteAclsRequest_v1]) -> DeleteAclsRequest_v1:
        """Return the request."""
        return request_struct_class([tuple(acl) for acl in self._acls])


class _QuotasResponse(Response):  # type: ignore[misc,unused-ignore]
    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "entries",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("entity", Array(("entity_type", String("utf-8")), ("entity_name", String("utf-8")))),
            ),
        ),
    )


class _QuotasStruct(RequestStruct):  # type: ignore[misc,unused-ignore]
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = _QuotasResponse
    SCHEMA = Schema(
        (
            "entries",
            Array(
                ("entity", Array(("entity_type", String("utf-8")), ("entity_name", String("utf-8")))),
                ("ops", Array(("key", String("utf-8")), ("value", Float64), ("remove", Boolean))),
            ),
        ),
        ("validate_only", Boolean),
    )


class SetQuotas(Request[_QuotasStruct]):  # type: ignore[misc,unused-ignore]
    """Set the quotas of users; a value of None removes one."""

    API_KEY = 49

    def __init__(self, quotas: Mapping[str, Mapping[str, float | None]]) -> None:
        self._quotas = quotas

    def build(self, request_struct_class: type[_QuotasStruct]) -> _QuotasStruct:
        """Return the request."""
        entries = [
            ([("user", user)], [(key, value or 0.0, value is None) for key, value in own.items()])
            for user, own in self._quotas.items()
        ]
        return request_struct_class(entries, False)
