"""Which exceptions are an outage: those of the broker, the database connection and the disk, and no others."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    RecordListTooLargeError,
)

from fleetloop.kit.messaging.events import EventTooLargeError
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.producer import UnreadableMessageError
from fleetloop.kit.outage import OutageError
from fleetloop.kit.refusal import InvalidArgumentError


@pytest.mark.parametrize(
    "error",
    [
        OutageError("the database is gone"),
        KafkaConnectionError("gone"),
        KafkaTimeoutError(),
        NotEnoughReplicasError(),
        GroupAuthorizationFailedError(),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        TimeoutError(),
        OSError(errno.ENOSPC, "no space left on device"),
        OSError(errno.EIO, "input/output error"),
        OSError(errno.EROFS, "read-only file system"),
        OSError(errno.EMFILE, "too many open files"),
        PermissionError(errno.EACCES, "permission denied"),
        FileNotFoundError(errno.ENOENT, "the state folder was deleted"),
        OSError("pyarrow gives no number"),
    ],
    ids=repr,
)
def test_a_failure_of_broker_connection_or_disk_is_an_outage(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        MessageSizeTooLargeError(),
        RecordListTooLargeError(),
        EventTooLargeError("2 MB"),
        UnreadableMessageError("no protobuf"),
        InvalidArgumentError("wrong", "field"),
        ValueError("embedded null byte"),
        OverflowError("Python int too large to convert to SQLite INTEGER"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        KeyError("Id"),
        AttributeError("'NoneType' object has no attribute 'decode'"),
        RecursionError(),
        MemoryError(),
        AssertionError(),
    ],
    ids=repr,
)
def test_every_other_exception_belongs_to_the_message(error: Exception) -> None:
    assert not is_outage(error)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"], ids=["too long", "with a NUL"])
def test_a_name_that_no_disk_accepts_belongs_to_the_message(name: str, tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError)) as caught:
        (tmp_path / name).stat()
    assert not is_outage(caught.value)
