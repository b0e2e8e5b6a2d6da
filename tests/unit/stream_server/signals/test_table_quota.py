"""Which signal tables go when there are too many."""

from __future__ import annotations

import pytest

from stream_server.signals.table_quota import StoredTable, surplus_tables


def stored(text: str) -> list[StoredTable]:
    """`a:van7:4` is table a of van7 with 4 bytes, `a::4` nobody's."""
    parts = [word.split(":") for word in text.split()]
    return [StoredTable(name, int(size), owner or None) for name, owner, size in parts]


@pytest.mark.parametrize(
    ("tables", "gone"),
    [
        ("a:x:50 b:y:50", ""),
        ("a::10 b::10 c::10", "a"),  # two may be unused
        ("a:x:60 b::30 c::30", "b"),
        ("a:x:90 b::30 c::30", "b c"),
        ("a:x:30 b:y:40 c:y:40 d:x:30 e:y:40", "b c a"),
        ("quiet:q:30 a:x:40 b:x:40 c:x:40", "a b"),
        ("a::20 quiet:q:30 b:x:40 c:x:40", "a b"),
    ],
)
def test_those_that_nobody_has_go_first_and_then_of_whoever_has_most(tables: str, gone: str) -> None:
    found = surplus_tables(stored(tables), max_unused=2, max_bytes=100)
    assert sorted(one.table_hash for one in found) == sorted(gone.split())
