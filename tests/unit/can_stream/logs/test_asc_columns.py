"""Lines of a Vector ASC log that stand in columns: which layout they have, and what of it must be so."""

from __future__ import annotations

import numpy as np
import pytest

from can_stream.logs.formats.asc_text.layouts import Layouts
from can_stream.logs.formats.asc_text.usual_fd import find_fd_layout
from can_stream.logs.formats.asc_text.usual_fields import (
    are_alike,
    decimal_identifiers,
    left_identifiers,
    pattern_of,
    right_identifiers,
)
from can_stream.logs.formats.asc_text.words import Heads, WideText
from can_stream.text.byte_pairs import read_pairs
from can_stream.text.decimal_bytes import decimal_bytes
from can_stream.text.text_columns import TextBlock

FD = (
    b"   0.001000 CANFD   1 Rx        123                                   1 0 2  2 A5 5A   1   2   3000   0"
)
PLAIN = b"   0.001000 1  123             Rx   d 3 01 02 03"


def test_a_canfd_line_says_where_its_words_are() -> None:
    layout = find_fd_layout(FD)
    assert layout is not None
    assert (layout.is_right, layout.has_tens, layout.tail_ends) == (True, True, (4, 8, 15))
    for line in (FD[: FD.index(b"A5")], FD.replace(b"1 0 2", b"1 0  2"), b"x", PLAIN):
        assert find_fd_layout(line) is None


def test_layouts_are_learned_once_and_by_base() -> None:
    layouts = Layouts()
    plain = layouts.learn(PLAIN, is_decimal=False)
    fd = layouts.learn(FD, is_decimal=False)
    assert plain is not None
    assert fd is not None
    assert layouts.learn(FD, is_decimal=True) is None
    assert layouts.known(is_decimal=False) == [fd, plain]
    assert layouts.known(is_decimal=True) == [fd]
    layouts.forget(fd)
    assert layouts.known(is_decimal=False) == [plain]


def heads_of(*lines: bytes) -> Heads:
    text = TextBlock(b"\n".join(lines) + b"\n" + b" " * 64)
    heads = Heads.of(WideText(text), text.start[: len(lines)], 24, np.ones(len(lines), np.bool_))
    assert heads is not None
    return heads


def test_hexadecimal_identifiers_have_up_to_eight_digits_a_mark_and_blanks() -> None:
    good = {b"7FF": (0x7FF, 0), b"0x": (0, 1), b"1fffFFFFX": (0x1FFFFFFF, 1), b"000007FF": (0x7FF, 0)}
    bad = (b"", b"x", b"800", b"20000000x", b"12 x", b"12xx", b"1 2", b"12g", b" 12", b"12\t", b"123456789")
    fields = [field.ljust(16) for field in (*good, *bad)]
    ok = np.ones(len(fields), np.bool_)
    number, flags = left_identifiers(heads_of(*fields), 0, ok)
    assert ok.tolist() == [True] * len(good) + [False] * len(bad)
    read = zip(number.tolist(), flags.tolist(), strict=True)
    assert list(read)[: len(good)] == list(good.values())
    for field in good:
        ok = np.ones(1, np.bool_)
        assert right_identifiers(heads_of(field.rjust(16)), 16, ok)[0].tolist() == [good[field][0]]
        assert ok.all()


def test_decimal_identifiers_have_up_to_nine_digits() -> None:
    lines = (b"2047 ", b"536870911x ", b"99999999x", b"12345678", b"x", b"7x1", b"5368709111")
    ok = np.ones(len(lines), np.bool_)
    number, flags = decimal_identifiers(heads_of(*(line.ljust(16) for line in lines)), 0, ok)
    assert ok.tolist() == [True, True, True, False, False, False, False]
    assert (number[:3].tolist(), flags[:3].tolist()) == ([2047, 0x1FFFFFFF, 99_999_999], [0, 1, 1])


def test_lines_are_alike_where_nothing_is_free() -> None:
    heads = heads_of(b"abc 1 xyz", b"abc 2 xyz", b"abd 1 xyz")
    assert are_alike(heads, pattern_of(b"abc 1 xyz", 9, [(4, 5)])).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "length", "good"),
    [
        (b" 1 22 255", 3, True),
        (b"   1  22 007 ", 3, True),
        (b" 1 2  Length = 5", 2, True),
        (b" 1 2Length", 2, False),
        (b" 1 256", 2, False),
        (b" 1 0002", 2, False),
        (b" 1 2 3", 2, False),
        (b" 1", 2, False),
        (b" 1 x", 1, False),
        (b"", 0, True),
    ],
)
def test_decimal_bytes_are_as_many_as_the_length_says(text: bytes, length: int, good: bool) -> None:
    block = TextBlock(text + b"\n" + b"7" * 40)
    data, ok = decimal_bytes(block, block.start[:1], np.array([length]), block.end[:1])
    assert ok.tolist() == [good]
    assert not good or bytes(data[0, :length]) == bytes(map(int, text.split(b"L")[0].split()))


@pytest.mark.parametrize("width", [8, 64])
def test_pairs_are_bytes_with_blanks_between(width: int) -> None:
    rows = [b"0a Ff 7", b"0a-Ff 7", b"0x Ff 7", b"\xb0a Ff", b"@0 Ff", b"0G Ff", b":0 Ff", b"0` Ff", b"0a F"]
    at, two = np.arange(len(rows)) * 24, np.full(len(rows), 2)
    data, good = read_pairs(b"".join(row.ljust(24, b"\n") for row in rows), at, two, two, width)
    assert good.tolist() == [True] + [False] * 8
    assert data[0].tolist() == [0x0A, 0xFF] + [0] * (width - 2)


@pytest.mark.parametrize("length", [0, 1, 8, 9, 16, 17, 63, 64])
def test_pairs_end_where_their_length_says(length: int) -> None:
    data = bytes(range(0xC0, 0x100))
    text = data.hex(" ").encode() + b"\n" * 24
    one, size = np.zeros(1, np.int64), np.array([length])
    read, good = read_pairs(text, one, size, np.minimum(size, 63), 64)
    assert (good.tolist(), bytes(read[0])) == ([True], data[:length] + bytes(64 - length))
    for place in range(3 * length - (length > 0)):
        wrong = text[:place] + b"\t" + text[place + 1 :]
        _, good = read_pairs(wrong, one, size, np.maximum(size - 1, 0), 64)
        assert good.tolist() == [False], place
