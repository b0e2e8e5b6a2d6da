"""The checksum of a packet's row: every column counts, however its value comes."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream_server.storage.checksums import COVERED, is_body_unchanged, is_unchanged, row_checksum

ROW: dict[str, Any] = dict(zip(COVERED, (b"body", 1, 2, 3, 4, None, 6, 7, 8, True, 10, None), strict=True))


def test_every_column_counts() -> None:
    whole = row_checksum(*ROW.values())
    assert is_unchanged({**ROW, "checksum": whole})
    for name in COVERED:
        changed = {**ROW, name: b"bodz" if name == "body" else 77}
        assert not is_unchanged({**changed, "checksum": whole}), name
        assert is_body_unchanged({**changed, "checksum": whole}) == (name != "body"), name
    assert 0 <= whole < 1 << 63, "a number of SQLite"


def test_numbers_are_those_that_sqlite_gives_back() -> None:
    counted = {**ROW, "first_ns": np.int64(6), "is_backlog": 1}
    assert row_checksum(*counted.values()) == row_checksum(*ROW.values())


def test_a_row_of_before_is_believed() -> None:
    assert is_unchanged({**ROW, "checksum": None})
    assert is_unchanged(ROW)
    assert is_body_unchanged(ROW)
