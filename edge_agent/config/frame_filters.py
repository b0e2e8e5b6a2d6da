"""Which frames pass a dongle's `frame_filters`; `dongles/pipeline` asks where batches become packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from can_stream.frames.batches import EXTENDED_ID_MASK, STANDARD_ID_MASK, FrameBatch, FrameFlag


class FrameFilter(msgspec.Struct, frozen=True):
    """Passes frames whose id equals `id` in the bits of `mask`; numbers, or strings like "0x7E8".

    Standard frames, unless `id` or `mask` needs more than 11 bits or `extended` says otherwise.
    """

    id: int | str
    mask: int | str | None = None
    extended: bool | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """What is not an arbitration id, and what cannot match any frame."""
        bad = False
        for key, value in (("id", self.id), ("mask", self.mask)):
            if value is not None and _number(value) is None:
                bad = True
                yield key, f'expected 0 to 0x{EXTENDED_ID_MASK:X}, as a number or like "0x7E8"'
        if not bad and self.extended is False and self._needs_extended():
            yield "extended", "is false, but `id` or `mask` has more than 11 bits"

    def terms(self) -> tuple[int, int, bool]:
        """(id, mask, extended) as numbers, of a filter without problems."""
        extended = self._needs_extended() if self.extended is None else self.extended
        mask = _number(self.mask) if self.mask is not None else None
        return _number(self.id) or 0, EXTENDED_ID_MASK if mask is None else mask, extended

    def _needs_extended(self) -> bool:
        return max(_number(self.id) or 0, _number(self.mask or 0) or 0) > STANDARD_ID_MASK


def keep_matching(batch: FrameBatch, filters: Sequence[FrameFilter]) -> FrameBatch:
    """The rows that match one of `filters`, in order; all rows where there are none. Error frames pass."""
    if not filters or not len(batch):
        return batch
    keep = (batch.flags & FrameFlag.ERROR) != 0
    extended_rows = (batch.flags & FrameFlag.EXTENDED) != 0
    for one in filters:
        wanted, mask, extended = one.terms()
        same_bits = (batch.arbitration_id & np.uint32(mask)) == np.uint32(wanted & mask)
        keep |= same_bits & (extended_rows == extended)
    return batch if keep.all() else batch[keep]


def _number(value: int | str) -> int | None:
    if isinstance(value, str):
        digits = value.removeprefix("0x").removeprefix("0X")
        if (
            len(digits) > 8
            or digits == value
            or not all(digit in "0123456789abcdefABCDEF" for digit in digits)
        ):
            return None
        value = int(digits, 16) if digits else -1
    return value if 0 <= value <= EXTENDED_ID_MASK else None
