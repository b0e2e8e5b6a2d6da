"""What may be an id, wherever one comes in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from can_stream.protocol.control import TableHash
from can_stream.protocol.identity import Identifier, StartId, is_identifier

GOOD = ["a", "7", "van7-can0", "a.b_c-d", "x" * 64]
BAD = [
    "",
    "A",
    "-a",
    ".a",
    "_a",
    "a b",
    "a/b",
    "é",
    "x" * 65,
    "van7\n",
    "\nvan7",
    "van7\r\n",
    "a\nb",
    "van7\n\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_an_id_is_taken_as_it_stands(text: str) -> None:
    assert msgspec.convert(text, Identifier) == text
    assert is_identifier(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_id_is_refused_also_where_a_line_feed_ends_it(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, Identifier)
    assert not is_identifier(text)


@pytest.mark.parametrize(("kind", "size"), [(StartId, 16), (TableHash, 32)])
def test_hex_numbers_end_where_their_digits_do(kind: Any, size: int) -> None:
    assert msgspec.convert("0" * size, kind) == "0" * size
    for text in ("0" * size + "\n", "0" * (size - 1), "0" * size + "0", "G" * size):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, kind)
