"""Numbers out of many lines at once: what the columns read is what Python reads line by line."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.text.text_columns import (
    TextBlock,
    are_decimal,
    are_hex,
    decimal,
    first,
    hex_bytes,
    hex_number,
    last,
)

eights = st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=20)
digits = st.lists(st.text(string.digits, min_size=8, max_size=8), min_size=1, max_size=20)
hex_digits = st.lists(st.text(string.hexdigits, min_size=8, max_size=8), min_size=1, max_size=20)


def block_of(texts: list[str]) -> TextBlock:
    return TextBlock("\n".join(texts).encode())


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=12), st.booleans())
def test_lines_are_those_between_line_feeds(lines: list[bytes], ends: bool) -> None:
    text = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    block = TextBlock(text)
    expected = text.split(b"\n")[:-1] if text.endswith(b"\n") else text.split(b"\n") if text else []
    assert [block.line(index) for index in range(len(block))] == expected
    contents = [block.raw[start:end] for start, end in zip(block.start, block.end, strict=True)]
    assert contents == [line.removesuffix(b"\r") for line in expected]


@given(st.binary(max_size=60), st.integers(0, 255))
def test_every_place_of_a_character_is_found_and_nothing_beside_the_block(text: bytes, code: int) -> None:
    block = TextBlock(text + b"\n")
    places = block.find(bytes([code]))
    inside = places[(places >= block.start[0]) & (places <= block.line_feed[-1])] - block.start[0]
    assert inside.tolist() == [at for at, found in enumerate(text + b"\n") if found == code]
    assert code == 0 or len(inside) == len(places)


@given(digits)
def test_eight_decimal_digits_are_their_number(texts: list[str]) -> None:
    block = block_of(texts)
    nibbles = block.nibbles(block.start)
    assert are_decimal(nibbles).all()
    assert decimal(nibbles).tolist() == [int(text) for text in texts]


@given(hex_digits)
def test_eight_hexadecimal_digits_are_their_number_and_their_bytes(texts: list[str]) -> None:
    block = block_of(texts)
    nibbles = block.nibbles(block.start)
    assert are_hex(nibbles).all()
    assert hex_number(nibbles).tolist() == [int(text, 16) for text in texts]
    assert hex_bytes(nibbles).tolist() == [int.from_bytes(bytes.fromhex(text), "little") for text in texts]


@given(eights)
def test_what_is_no_digit_is_noticed_wherever_it_stands(texts: list[bytes]) -> None:
    block = TextBlock(b"".join(texts))
    at = block.start[0] + 8 * np.arange(len(texts))
    nibbles = block.nibbles(at)
    assert are_hex(nibbles).tolist() == [set(text) <= set(string.hexdigits.encode()) for text in texts]
    assert are_decimal(nibbles).tolist() == [set(text) <= set(string.digits.encode()) for text in texts]


@pytest.mark.parametrize("count", range(9))
def test_of_eight_characters_the_first_or_the_last_are_kept(count: int) -> None:
    block = TextBlock(b"ABCDEFGH")
    word, counts = block.text(block.start), np.array([count])
    assert first(word, counts).tobytes() == b"ABCDEFGH"[:count].ljust(8, b"\0")
    assert last(word, counts).tobytes() == b"ABCDEFGH"[8 - count :].rjust(8, b"\0")


@given(st.integers(0, 99_999_999), st.integers(1, 8))
def test_a_shorter_number_is_read_by_its_last_digits(number: int, count: int) -> None:
    text = f"{number:08d}"[-count:]
    block = TextBlock(b"x" + text.encode() + b"y")
    ends = block.start + 1 + count
    nibbles = last(block.nibbles(ends - 8), np.array([count]))
    assert are_decimal(nibbles).all()
    assert decimal(nibbles).tolist() == [int(text)]


def test_a_block_without_lines_has_none() -> None:
    assert len(TextBlock(b"")) == 0
    assert TextBlock(b"").find(b"\n").tolist() == []
