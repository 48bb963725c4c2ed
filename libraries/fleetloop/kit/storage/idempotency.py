"""Mutating RPCs take effect once: the answer is kept beside the change and given again to a repeat."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from fleetloop.kit.rpc import RpcError
from fleetloop.kit.storage.database import Transaction


def answer_once(tx: Transaction, request_id: str, method: str, now_utc_ns: int, work: Callable[[], bytes]) -> bytes:
    """Carries out `work` unless this request was carried out before; returns its serialised response.

    Raises RpcError INVALID_ARGUMENT when the caller gave no request id.
    """
    if not request_id:
        raise RpcError(
            grpc.StatusCode.INVALID_ARGUMENT, "give every attempt of one request the same random id", "request_id"
        )
    known = tx.response_of(request_id, method)
    if known is not None:
        return known
    response = work()
    tx.remember_response(request_id, method, response, now_utc_ns)
    return response
