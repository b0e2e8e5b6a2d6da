"""How long frames take a bus at their worst, and how much of its time they may have.

Bits by ISO 11898-1, with as many stuff bits as there can be, and the intermission behind each frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, FrameFlag

# SOF, identifier, RTR, IDE, r0, DLC and CRC are stuffed; extended: SRR, r1 and 18 bits of identifier more.
_CLASSIC_BITS: Final = (34, 54)
# CRC delimiter, ACK and its delimiter, EOF, intermission: never stuffed.
_TAIL_BITS: Final = 13
# CAN FD: SOF to BRS at the nominal rate; ESI and DLC; then stuff count, CRC and their fixed stuff bits.
_FD_HEAD_BITS: Final = (17, 36)
_FD_CONTROL_BITS: Final = 5
_FD_SHORT_CRC_BITS: Final = 4 + 17 + 6
_FD_LONG_CRC_BITS: Final = 4 + 21 + 7
_LONGEST_SHORT_CRC: Final = 16
_WINDOW_NS: Final = 100_000_000
Costs: TypeAlias = Sequence[int] | NDArray[np.int64]


def bus_times_ns(frames: FrameBatch, bit_rate: int, data_bit_rate: int | None = None) -> NDArray[np.int64]:
    """int64[N]: how long each frame takes a bus of `bit_rate` bit/s at its worst.

    `data_bit_rate`: that of the data of frames with BRS; where it is not known they take the nominal rate.
    """
    data_bits = frames.data_length().astype(np.int64) * 8
    extended = ((frames.flags & int(FrameFlag.EXTENDED)) != 0).astype(np.intp)
    stuffed = np.array(_CLASSIC_BITS)[extended] + data_bits
    nominal = stuffed + (stuffed - 1) // 4 + _TAIL_BITS
    fast = np.zeros(len(frames), np.int64)
    is_fd = (frames.flags & int(FrameFlag.FD)) != 0
    if is_fd.any():
        heads = np.array(_FD_HEAD_BITS)[extended]
        head_bits = heads + (heads - 1) // 4
        body = _FD_CONTROL_BITS + data_bits
        body_bits = body + (heads + body - 1) // 4 - (heads - 1) // 4
        body_bits += np.where(data_bits <= _LONGEST_SHORT_CRC * 8, _FD_SHORT_CRC_BITS, _FD_LONG_CRC_BITS)
        switches = (frames.flags & int(FrameFlag.BRS)) != 0
        nominal = np.where(is_fd, head_bits + _TAIL_BITS + np.where(switches, 0, body_bits), nominal)
        fast = np.where(is_fd & switches, body_bits, 0)
    times: NDArray[np.int64] = nominal * 10**9 // bit_rate + fast * 10**9 // (data_bit_rate or bit_rate) + 1
    return times


class Meter:
    """Time that may be used up: a share of what goes by, and after a pause as much as of a tenth of a second.

    What begins while something is left may use more than that; the rest is missing afterwards.
    """

    def __init__(self) -> None:
        self._left_ns = float(_WINDOW_NS)
        self._at_ns: int | None = None

    def fitting(self, costs_ns: Costs, share: float, now_ns: int) -> int:
        """How many of these, in order, may begin now."""
        passed_ns = 0 if self._at_ns is None else max(0, now_ns - self._at_ns)
        self._at_ns = max(now_ns, self._at_ns or now_ns)
        self._left_ns = min(share * _WINDOW_NS, self._left_ns + share * passed_ns)
        left_ns = self._left_ns
        for row, cost_ns in enumerate(costs_ns):
            if left_ns <= 0:
                return row
            left_ns -= cost_ns
        return len(costs_ns)

    def use(self, costs_ns: Costs) -> None:
        """These have begun."""
        self._left_ns -= int(sum(costs_ns))

    def give_back(self, costs_ns: Costs) -> None:
        """These have not, after all."""
        self._left_ns += int(sum(costs_ns))

    def wait_ns(self, share: float) -> int:
        """How long until something may begin, at this share of the time."""
        return 0 if self._left_ns > 0 else int((1 - self._left_ns) / share) + 1
