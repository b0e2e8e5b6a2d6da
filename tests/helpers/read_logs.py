"""All of a log that a reader gives, and that its books add up."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable

from can_stream.frames.batches import FrameBatch, concatenate
from can_stream.logs.log_blocks import BlockParser, LogSource, ParsedBlock, TextLog


class ReadLog:
    """What `log` holds; `channel`: the name of each frame's channel."""

    def __init__(self, log: LogSource) -> None:
        self.blocks: list[ParsedBlock] = list(log.blocks())
        self.others = Counter[str]()
        for block in self.blocks:
            assert len(block.batch.frames) + block.unreadable + sum(block.others.values()) == block.items
            assert len(block.batch.frames) == len(block.batch.channel)
            assert len(block.faults) <= block.unreadable
            self.others.update(block.others)
        self.frames: FrameBatch = concatenate([block.batch.frames for block in self.blocks])
        self.items = sum(block.items for block in self.blocks)
        self.unreadable = sum(block.unreadable for block in self.blocks)
        self.reasons = [fault.reason for block in self.blocks for fault in block.faults]
        self.is_cut = any(block.is_cut for block in self.blocks)
        self.channels = log.channels
        self.channel = [self.channels[n] for block in self.blocks for n in block.batch.channel.tolist()]

    def assert_same(self, other: ReadLog) -> None:
        """Frames and books of another reading of the log."""
        assert self.frames.equals(other.frames)
        assert (self.channel, self.channels) == (other.channel, other.channels)
        assert (self.items, self.others) == (other.items, other.others)
        assert (self.unreadable, self.is_cut) == (other.unreadable, other.is_cut)


def read_text(parser: BlockParser, log: bytes, block_bytes: int = 1 << 20) -> ReadLog:
    """What `parser` makes of a text, in blocks of about that size."""
    return ReadLog(TextLog(parser, io.BytesIO(log).read, block_bytes))


def assert_lines_are_accounted_for(
    new_parser: Callable[[], BlockParser], log: bytes, block_bytes: int
) -> None:
    """Every line of `log` is a frame, or counted, and the same wherever blocks end."""
    whole = read_text(new_parser(), log)
    assert whole.items == log.count(b"\n") + (not log.endswith(b"\n") and bool(log))
    whole.assert_same(read_text(new_parser(), log, block_bytes))
