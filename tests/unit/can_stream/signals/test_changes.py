"""Change detection: the first value and every different one."""

from __future__ import annotations

import math
import struct

from can_stream.signals.changes import ChangeFilter
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from tests.helpers.cantools_oracle import frames_of

TABLE = SignalTable(
    [
        MessageModel("A", 1, False, False, 8, (SignalModel("A1", 0, 8), SignalModel("A2", 8, 8))),
        MessageModel("F", 2, False, False, 8, (SignalModel("F1", 0, 64, encoding=Encoding.FLOAT),)),
    ]
)


def changed(filter_: ChangeFilter, *frames: tuple[int, bytes]) -> list[bool]:
    decoded = decode(TABLE, frames_of([(number, False, data) for number, data in frames]))
    return [bool(differs) for differs in filter_.changed(decoded)]


def test_first_values_and_differences_within_and_across_batches() -> None:
    filter_ = ChangeFilter(TABLE)
    assert changed(filter_, (1, b"\1\2"), (1, b"\1\3"), (1, b"\1\3")) == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]
    assert changed(filter_, (1, b"\1\3")) == [False, False]
    assert changed(filter_, (1, b"\2\3"), (1, b"\1\3")) == [True, False, True, False]


def test_nan_is_no_change_from_itself() -> None:
    filter_ = ChangeFilter(TABLE)
    nan, one = struct.pack("<d", math.nan), struct.pack("<d", 1.0)
    assert changed(filter_, (2, nan), (2, nan), (2, one)) == [True, False, True]


def test_forgetting_offers_all_again() -> None:
    filter_ = ChangeFilter(TABLE)
    changed(filter_, (1, b"\1\2"))
    filter_.forget()
    assert changed(filter_, (1, b"\1\2")) == [True, True]


def test_values_of_a_packet_go_through_it_too() -> None:
    frames = frames_of([(1, False, b"\1\2"), (1, False, b"\1\2")])
    batch = decode(TABLE, frames).signal_batch(frames)
    assert ChangeFilter(TABLE).changed(batch).tolist() == [True, True, False, False]
