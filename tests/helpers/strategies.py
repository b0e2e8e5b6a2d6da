"""Hypothesis strategies for frames."""

from __future__ import annotations

from hypothesis import strategies as st

from can_stream.frames.batches import FD_LENGTHS, FrameBatch, FrameFlag, batch_of

Row = tuple[int, int, int, int, bytes]
_YEAR_2100_NS = 4_102_444_800_000_000_000


@st.composite
def frame_rows(draw: st.DrawFn, fd: bool) -> Row:
    timestamp_ns = draw(st.integers(-_YEAR_2100_NS // 1000, _YEAR_2100_NS // 1000)) * 1000
    extended = draw(st.booleans())
    arbitration_id = draw(st.integers(0, 0x1FFFFFFF if extended else 0x7FF))
    flags = FrameFlag.EXTENDED if extended else FrameFlag(0)
    if draw(st.booleans()):
        flags |= FrameFlag.TX
    kind = draw(st.sampled_from(["data", "remote", "error", *(["fd"] if fd else [])]))
    if kind == "fd":
        flags |= FrameFlag.FD | draw(st.sampled_from([FrameFlag(0), FrameFlag.BRS, FrameFlag.ESI]))
        length = draw(st.sampled_from(FD_LENGTHS))
        return timestamp_ns, arbitration_id, flags, length, draw(st.binary(min_size=length, max_size=length))
    length = draw(st.integers(0, 15))
    if kind == "remote":
        return timestamp_ns, arbitration_id, flags | FrameFlag.REMOTE, length, b""
    if kind == "error":
        flags |= FrameFlag.ERROR
        arbitration_id = draw(st.integers(0, 0x1FFFFFFF))
    size = min(length, 8)
    return timestamp_ns, arbitration_id, flags, length, draw(st.binary(min_size=size, max_size=size))


@st.composite
def frame_batches(draw: st.DrawFn, min_size: int = 1, max_size: int = 40) -> FrameBatch:
    """Batches as drivers give them: any kind of frame, times in any order, few or many ids."""
    fd = draw(st.booleans())
    return batch_of(draw(st.lists(frame_rows(fd), min_size=min_size, max_size=max_size)))
