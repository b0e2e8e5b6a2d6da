"""What has become of the frames of one id."""

from __future__ import annotations

import msgspec


class IdCounts(msgspec.Struct, frozen=True):
    """`id` in hexadecimal, `0x7E8`, None for all ids beyond a bound. `frames`: by what has become of them:
    `sent`, `accepted`, `in_doubt`, or why they were not sent.
    """

    id: str | None
    frames: dict[str, int]
