"""Whether an exception belongs to a dependency or to the message that was being processed.

A consumer that mistakes one for the other either stops for the whole fleet because of one message, or throws away
every message while the broker, the database or the disk is down. So the rule is one sentence: an exception of the
broker, the database connection or the disk is an outage, and every other exception belongs to the message.
"""

from __future__ import annotations

import errno

from aiokafka.errors import (
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
)

from fleetloop.kit.outage import OutageError

_REFUSED = (
    InvalidTimestampError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
)
"""Errors of Kafka's client that are about what was sent, and stay the same at every retry."""
_NAMES = frozenset({errno.E2BIG, errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG, errno.ERANGE})
"""Errors of the operating system that are about a name or a number, not about the disk."""


def is_outage(error: BaseException) -> bool:
    """Whether the broker, the database connection or the disk failed, so that a later retry may succeed.

    A `Database` raises DatabaseUnavailableError, which is an OutageError, for what its connection or its disk causes.
    """
    if isinstance(error, OutageError):
        return True
    if isinstance(error, KafkaError):
        return not isinstance(error, _REFUSED)
    if isinstance(error, OSError):  # TimeoutError and ConnectionError are OSErrors too
        return error.errno not in _NAMES
    return False
