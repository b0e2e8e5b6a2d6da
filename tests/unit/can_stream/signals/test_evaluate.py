"""Single signals and frames: where the bits are, what type a value has, what is there at all."""

from __future__ import annotations

import math
import struct

import pytest

from can_stream.frames.batches import FrameFlag, ValueKind, batch_of, empty_batch
from can_stream.signals.decoded import Decoded, Value
from can_stream.signals.errors import TableError
from can_stream.signals.evaluate import SLICE_FRAMES, decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel, pgn_of
from can_stream.signals.table import SignalTable, read_table
from tests.helpers.cantools_oracle import frames_of


def table_of(*signals: SignalModel, message: str = "M", number: int = 0x123, length: int = 8) -> SignalTable:
    return SignalTable([MessageModel(message, number, False, False, length, signals)])


def decode_one(table: SignalTable, data: bytes, number: int = 0x123) -> Decoded:
    return decode(table, frames_of([(number, False, data)]))


def value_of(signal: SignalModel, data: bytes, *, choices: bool = False) -> Value:
    return decode_one(table_of(signal), data).values_of(0, choices=choices)[signal.name]


def exactly(value: Value, expected: Value) -> bool:
    return type(value) is type(expected) and repr(value) == repr(expected)


@pytest.mark.parametrize(
    ("signal", "data", "expected"),
    [
        (SignalModel("S", 0, 8), "ab00000000000000", 0xAB),
        (SignalModel("S", 4, 8), "b00a000000000000", 0xAB),
        (SignalModel("S", 0, 16, big_endian=True), "abcd000000000000", 0xABCD),
        (SignalModel("S", 4, 12, big_endian=True), "fbcd000000000000", 0xBCD),
        (SignalModel("S", 1, 3, big_endian=True), "5000000000000000", 0b101),
        (SignalModel("S", 0, 8, encoding=Encoding.SIGNED), "ff00000000000000", -1),
        (SignalModel("S", 0, 64), "ffffffffffffffff", 2**64 - 1),
        (SignalModel("S", 0, 64, encoding=Encoding.SIGNED), "0000000000000080", -(2**63)),
        (SignalModel("S", 0, 8, scale=2, offset=-10), "0300000000000000", -4),
        (SignalModel("S", 0, 8, scale=2.0, offset=-10.0), "0300000000000000", -4),
        (SignalModel("S", 0, 8, scale=1.0), "0300000000000000", 3),
        (SignalModel("S", 0, 8, scale=0.1), "0300000000000000", 3 * 0.1),
        (SignalModel("S", 0, 8, offset=0.5), "0300000000000000", 3.5),
        (SignalModel("S", 0, 8, scale=-0.5), "0000000000000000", 0 * -0.5 + 0),
        (SignalModel("S", 0, 8, scale=1e308, offset=0.5), "ff00000000000000", math.inf),
        (SignalModel("S", 0, 64, scale=3, offset=0.5), "ffffffffffffffff", (2**64 - 1) * 3 + 0.5),
        (SignalModel("S", 0, 64, scale=0.1), "ffffffffffffffff", (2**64 - 1) * 0.1),
        (SignalModel("S", 0, 64, scale=10), "ffffffffffffffff", (2**64 - 1) * 10),
        (SignalModel("S", 0, 64, offset=-1), "ffffffffffffffff", 2**64 - 2),
        (SignalModel("S", 0, 64, offset=-1), "0000000000000000", -1),
        (SignalModel("S", 0, 64, scale=-1), "ffffffffffffffff", -(2**64 - 1)),
    ],
)
def test_value_and_type(signal: SignalModel, data: str, expected: Value) -> None:
    assert exactly(value_of(signal, bytes.fromhex(data)), expected)


@pytest.mark.parametrize(("size", "code"), [(16, "e"), (32, "f"), (64, "d")])
@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, -2.75, math.inf, -math.inf, math.nan])
def test_floats_pass_through(size: int, code: str, number: float) -> None:
    data = struct.pack(f"<{code}", number).ljust(8, b"\0")
    assert exactly(value_of(SignalModel("S", 0, size, encoding=Encoding.FLOAT), data), number)
    turned = struct.pack(f">{code}", number).ljust(8, b"\0")
    assert exactly(value_of(SignalModel("S", 0, size, True, Encoding.FLOAT), turned), number)
    scaled = value_of(SignalModel("S", 0, size, encoding=Encoding.FLOAT, scale=2, offset=1), data)
    assert exactly(scaled, number * 2 + 1)


def test_a_signal_of_more_than_64_bits_is_exact_for_people_and_the_nearest_float_in_columns() -> None:
    data = bytes(range(1, 25))
    decoded = decode_one(table_of(SignalModel("S", 4, 100), length=24), data)
    expected = (int.from_bytes(data, "little") >> 4) & (2**100 - 1)
    assert decoded.values_of(0) == {"S": expected}
    assert decoded.raw_of(0) == {"S": expected}
    assert decoded.kind.tolist() == [ValueKind.FLOAT]
    assert struct.unpack("<d", struct.pack("<Q", int(decoded.bits[0])))[0] == float(expected)


def test_fd_signals_across_the_words_of_64_bits() -> None:
    data = bytes(range(100, 164))
    little = SignalModel("L", 60, 40)
    big = SignalModel("B", 60, 40, big_endian=True)
    values = decode_one(table_of(little, big, length=64), data).values_of(0)
    assert values["L"] == (int.from_bytes(data, "little") >> 60) & (2**40 - 1)
    assert values["B"] == (int.from_bytes(data, "big") >> (512 - 100)) & (2**40 - 1)


def test_choices_stand_for_raw_values() -> None:
    signal = SignalModel("S", 0, 8, scale=0.5, choices={2: "Two"})
    assert value_of(signal, b"\2", choices=True) == "Two"
    assert value_of(signal, b"\2") == 1.0
    assert value_of(signal, b"\4", choices=True) == 2.0
    real = SignalModel("S", 0, 64, encoding=Encoding.FLOAT, choices={2: "Two"})
    assert value_of(real, struct.pack("<d", 2.9), choices=True) == "Two"
    assert math.isnan(float(value_of(real, struct.pack("<d", math.nan), choices=True)))


NESTED = (
    SignalModel("Outer", 0, 8, choices={9: "Nothing"}),
    SignalModel("Inner", 8, 4, selector=0, ranges=((1, 2),)),
    SignalModel("Leaf", 16, 8, selector=1, ranges=((3, 3), (5, 7))),
    SignalModel("Other", 16, 8, selector=0, ranges=((2, 4),)),
    SignalModel("Always", 56, 8),
)


@pytest.mark.parametrize(
    ("data", "names", "undecoded"),
    [
        ("0103aa0000000001", {"Outer", "Inner", "Leaf", "Always"}, []),
        ("0206aa0000000001", {"Outer", "Inner", "Leaf", "Other", "Always"}, []),
        ("0304aa0000000001", {"Outer", "Other", "Always"}, []),
        ("0900aa0000000001", {"Outer", "Always"}, []),
        ("0104aa0000000001", {"Outer", "Inner", "Always"}, ["Leaf"]),
        ("7700aa0000000001", {"Outer", "Always"}, ["Inner", "Leaf", "Other"]),
        ("0103", {"Outer", "Inner"}, ["Leaf", "Always"]),
        ("01", {"Outer"}, ["Inner", "Leaf", "Always"]),
        ("", set(), ["Outer", "Inner", "Leaf", "Other", "Always"]),
    ],
)
def test_multiplexing(data: str, names: set[str], undecoded: list[str]) -> None:
    decoded = decode_one(table_of(*NESTED), bytes.fromhex(data))
    assert set(decoded.values_of(0)) == names
    assert decoded.undecoded_of(0) == undecoded


def test_a_signed_selector_counts_below_zero() -> None:
    selector = SignalModel("Mode", 0, 8, encoding=Encoding.SIGNED)
    child = SignalModel("Child", 8, 8, selector=0, ranges=((-3, -1),))
    table = table_of(selector, child)
    assert decode_one(table, b"\xfe\7").values_of(0) == {"Mode": -2, "Child": 7}
    assert decode_one(table, b"\x7f\7").undecoded_of(0) == ["Child"]


def test_remote_error_and_unknown_frames_have_no_values() -> None:
    table = table_of(SignalModel("S", 0, 8))
    batch = batch_of(
        [
            (0, 0x123, 0, 1, b"\7"),
            (1, 0x123, FrameFlag.REMOTE, 8, b""),
            (2, 0x123, FrameFlag.ERROR, 8, bytes(8)),
            (3, 0x123, FrameFlag.EXTENDED, 1, b"\7"),
            (4, 0x124, 0, 1, b"\7"),
        ]
    )
    decoded = decode(table, batch)
    assert decoded.message.tolist() == [0, 0, -1, -1, -1]
    assert list(decoded.rows()) == [{"S": 7}, {}, None, None, None]
    assert decoded.undecoded_of(1) == []
    assert decoded.message_name(0) == "M"
    assert decoded.message_name(4) is None


def test_a_classic_frame_with_a_length_code_above_8_has_8_bytes() -> None:
    table = table_of(SignalModel("In", 56, 8), SignalModel("Out", 64, 8), length=16)
    for width_maker in ([], [(1, 0x700, FrameFlag.FD, 64, bytes(64))]):
        batch = batch_of([(0, 0x123, 0, 15, bytes(7) + b"\7"), *width_maker])
        decoded = decode(table, batch)
        assert decoded.values_of(0) == {"In": 7}
        assert decoded.undecoded_of(0) == ["Out"]


def test_parameter_groups_ignore_priority_source_and_destination() -> None:
    def message(name: str, number: int, *, by_pgn: bool = True) -> MessageModel:
        return MessageModel(name, number, True, by_pgn, 8, (SignalModel(name, 0, 8),))

    table = SignalTable(
        [
            message("PDU2", 0x0CF004FE),
            message("PDU1", 0x18EAFFFE),
            message("Exact", 0x0CF00411, by_pgn=False),
            message("Plain", 0x0CF00522, by_pgn=False),
        ]
    )
    ids = {
        0x0CF004FE: "PDU2", 0x18F00400: "PDU2", 0x0CF00411: "Exact", 0x18EA0011: "PDU1", 0x0CEAFFFE: "PDU1",
        0x0CF00500: None, 0x0CF00522: "Plain", 0x0DF00400: None, 0x1CF00411: "PDU2",
    }  # fmt: skip
    decoded = decode(table, frames_of([(number, True, bytes(8)) for number in ids]))
    assert [decoded.message_name(row) for row in range(len(ids))] == list(ids.values())
    assert decode(table, frames_of([(0x4FE, False, bytes(8))])).message.tolist() == [-1]
    assert pgn_of(0x18EAFFFE) == 0xEA00
    assert pgn_of(0x0CF004FE) == 0xF004


def test_standard_and_extended_ids_of_one_number_are_two_messages() -> None:
    signals = (SignalModel("S", 0, 8),)
    table = SignalTable(
        [
            MessageModel("Std", 0x100, False, False, 8, signals),
            MessageModel("Ext", 0x100, True, False, 8, signals),
        ]
    )
    decoded = decode(table, frames_of([(0x100, True, b"\1"), (0x100, False, b"\2")]))
    assert [decoded.message_name(row) for row in range(2)] == ["Ext", "Std"]


def test_long_batches_are_the_same_as_short_ones() -> None:
    table = table_of(*NESTED, SignalModel("Wide", 0, 64, scale=10))
    frames = [
        (0x123, False, bytes([row % 11, row % 9, *[row % 256] * 6])) for row in range(2 * SLICE_FRAMES + 5)
    ]
    whole = decode(table, frames_of(frames))
    for row in (0, SLICE_FRAMES - 1, SLICE_FRAMES, 2 * SLICE_FRAMES + 4):
        alone = decode(table, frames_of([frames[row]]))
        assert whole.values_of(row) == alone.values_of(0)
        assert whole.undecoded_of(row) == alone.undecoded_of(0)
    assert list(whole.rows())[SLICE_FRAMES + 1] == whole.values_of(SLICE_FRAMES + 1)


def test_nothing_in_nothing_out() -> None:
    for table in (SignalTable([]), table_of(), table_of(*NESTED)):
        assert len(decode(table, empty_batch())) == 0
        assert len(decode(table, frames_of([(0x7FF, False, b"\1")]))) == 0


def test_values_become_a_signal_batch_with_the_times_of_their_frames() -> None:
    table = table_of(SignalModel("A", 0, 8), SignalModel("B", 8, 8, scale=0.5))
    frames = frames_of([(0x123, False, b"\1\2"), (0x7FF, False, b""), (0x123, False, b"\3\4")])
    decoded = decode(table, frames)
    batch = decoded.signal_batch(frames)
    assert batch.table_hash == table.hash
    assert batch.timestamp_ns.tolist() == [0, 0, 2000, 2000]
    assert batch.signal.tolist() == [0, 1, 0, 1]
    assert batch.kind.tolist() == [ValueKind.UNSIGNED, ValueKind.FLOAT] * 2
    assert len(decoded.signal_batch(frames, decoded.signal == 1)) == 2


@pytest.mark.parametrize(
    "signal",
    [
        SignalModel("S", 0, 0),
        SignalModel("S", -1, 8),
        SignalModel("S", 0, 1 << 20),
        SignalModel("S", 0, 24, encoding=Encoding.FLOAT),
        SignalModel("S", 0, 8, selector=5),
        SignalModel("S", 0, 8, selector=0),
        SignalModel("S" * 5000, 0, 8),
        SignalModel("S", 0, 8, ranges=((2, 1),)),
    ],
)
def test_impossible_signals_make_no_table(signal: SignalModel) -> None:
    with pytest.raises(TableError, match="S"):
        table_of(signal)


def test_a_table_of_too_many_combinations_is_refused() -> None:
    selector = SignalModel("Mode", 0, 32)
    children = [SignalModel(f"C{at}", 0, 8, selector=0, ranges=((at, 1 << 31),)) for at in range(3000)]
    with pytest.raises(TableError, match="combinations"):
        table_of(selector, *children)


def test_the_hash_is_that_of_the_content() -> None:
    table = table_of(*NESTED)
    assert len(table.hash) == 16
    assert read_table(table.to_bytes()) == table
    assert table_of(*NESTED[:-1]) != table
    with pytest.raises(TableError, match="version"):
        read_table(_with_version(table, 2))
    with pytest.raises(TableError, match="cut short"):
        read_table(table.to_bytes() + b"x")


def _with_version(table: SignalTable, version: int) -> bytes:
    import zlib

    plain = bytearray(zlib.decompress(table.to_bytes()[4:]))
    plain[1] = version
    return table.to_bytes()[:4] + zlib.compress(bytes(plain))
