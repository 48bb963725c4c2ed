"""What a refused caller reads, and that every kind of refusal has a gRPC status code of the same name."""

from __future__ import annotations

import grpc
import pytest

from fleetloop.kit import refusal
from fleetloop.kit.refusal import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    RefusalKind,
    RefusedError,
)
from fleetloop.kit.rpc import status_of

KINDS = [
    each
    for each in vars(refusal).values()
    if isinstance(each, type) and issubclass(each, RefusedError) and each is not RefusedError
]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotFoundError("no such rollout"), "no such rollout"),
        (NotFoundError("no such rollout", "rollout_id"), "rollout_id: no such rollout"),
        (
            NotFoundError("no such rollout", "rollout_id", "ListRollouts lists them"),
            "rollout_id: no such rollout; ListRollouts lists them",
        ),
        (
            NotFoundError("no such rollout", remedy="ListRollouts lists them"),
            "no such rollout; ListRollouts lists them",
        ),
    ],
)
def test_the_text_names_the_field_and_the_remedy(error: RefusedError, text: str) -> None:
    assert str(error) == text


def test_each_kind_has_one_class() -> None:
    assert sorted(each.kind for each in KINDS) == sorted(RefusalKind)


def test_a_caller_reads_the_status_code_of_the_same_meaning() -> None:
    assert {status_of(kind("no")).value[0] for kind in KINDS} == {3, 5, 6, 7, 8, 9, 10, 14, 15}
    assert status_of(NotFoundError("no")) is grpc.StatusCode.NOT_FOUND
    assert status_of(InvalidArgumentError("no")) is grpc.StatusCode.INVALID_ARGUMENT
    assert status_of(FailedPreconditionError("no")) is grpc.StatusCode.FAILED_PRECONDITION
