"""Which stored signal tables go when there are too many; their agents are asked for them again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from stream_server.shares import surpluses


class StoredTable(NamedTuple):
    """A table and its size. `owner`: an agent of whose dongles it is the current one, None for nobody's."""

    table_hash: str
    size_bytes: int
    owner: str | None


def surplus_tables(stored: Sequence[StoredTable], max_unused: int, max_bytes: int) -> list[StoredTable]:
    """What has to go of `stored`, which are in the order in which they came.

    First the oldest of those that no dongle has, until at most `max_unused` of them are left and all fit into
    `max_bytes`; where that is not enough the oldest of the agents whose tables take most.
    """
    unused = [table for table in stored if table.owner is None]
    gone = unused[: max(0, len(unused) - max_unused)]
    surplus = sum(table.size_bytes for table in stored) - sum(table.size_bytes for table in gone) - max_bytes
    for table in unused[len(gone) :]:
        if surplus <= 0:
            return gone
        surplus -= table.size_bytes
        gone.append(table)
    return gone + _of_owners(stored, max_bytes)


def _of_owners(stored: Sequence[StoredTable], max_bytes: int) -> list[StoredTable]:
    tables: defaultdict[str, list[StoredTable]] = defaultdict(list)
    for table in stored:
        if table.owner is not None:
            tables[table.owner].append(table)
    sizes = {owner: sum(table.size_bytes for table in mine) for owner, mine in tables.items()}
    gone: list[StoredTable] = []
    for owner, surplus in surpluses(sizes, max_bytes).items():
        left = surplus
        for table in tables[owner]:
            if left > 0:
                gone.append(table)
                left -= table.size_bytes
    return gone
