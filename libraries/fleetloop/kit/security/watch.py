"""Ends a call that is open once its caller is refused, wherever the call waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleetloop.kit.refusal import RefusedError


class CallWatch:
    """Checks an open call every `check_s` seconds, and cancels its task once the caller is refused.

    A timer costs a stream nothing per message. The task may be waiting for the client, or for anything else.
    """

    def __init__(self, check: Callable[[], object], check_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None, "a handler runs in a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._check = check
        self._check_s = check_s
        self._refusal: RefusedError | None = None
        self._timer = task.get_loop().call_later(check_s, self._again)

    def _again(self) -> None:
        try:
            self._check()
        except RefusedError as refusal:
            self._refusal = refusal
            self._task.cancel()
        else:
            self._timer = self._task.get_loop().call_later(self._check_s, self._again)

    def refusal(self) -> RefusedError | None:
        """Why this watch cancelled the task; None when another did. Takes the cancellation back."""
        if self._refusal is None or self._task.uncancel() > self._cancelling:
            return None
        return self._refusal

    def stop(self) -> None:
        """Check no more."""
        self._timer.cancel()
