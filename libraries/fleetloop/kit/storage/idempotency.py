"""Idempotent RPCs: the answer of a mutating request is kept beside its change, and a repeat gets the same answer."""

from __future__ import annotations

from collections.abc import Callable

from fleetloop.kit.refusal import InvalidArgumentError
from fleetloop.kit.storage.database import Transaction


def answer_once(tx: Transaction, request_id: str, method: str, now_utc_ns: int, work: Callable[[], bytes]) -> bytes:
    """Carry out `work` unless this request was carried out before; return its serialised response.

    Raises InvalidArgumentError when the caller gave no request id.
    """
    if not request_id:
        raise InvalidArgumentError("give every attempt of one request the same random id", "request_id")
    known = tx.response_of(request_id, method)
    if known is not None:
        return known
    response = work()
    tx.remember_response(request_id, method, response, now_utc_ns)
    return response
