"""Pictures are decoded only up to a size that bounds the memory for it."""

from __future__ import annotations

import pytest
from tests.chaos.hostile_clips import black_png

from fleetloop.domain.clips import ClipError
from fleetloop.domain.clips.layout import decode_png


def test_a_picture_at_the_limit_is_decoded_and_a_larger_one_is_not() -> None:
    assert decode_png("picture", black_png(8192)).shape == (8192, 8192, 3)
    with pytest.raises(ClipError, match="is 8193 x 8193, at most 8192 on a side"):
        decode_png("picture", black_png(8193))
