"""What a row of a table must look like: to know rows whose table is lost, and rows that are none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_server.storage.sqlite_pages import Cell, Value


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table's columns in the order of its rows: name, what its values are, whether they may be missing.

    `key`: the column that a row's number stands for, None where the table has none.
    """

    columns: tuple[tuple[str, type, bool], ...]
    key: str | None

    def row(self, cell: Cell) -> dict[str, Value] | None:
        """The row by column, None where it is of another table. Columns that came later are left out."""
        if not 0 < len(cell.values) <= len(self.columns):
            return None
        row: dict[str, Value] = {}
        for (name, kind, optional), value in zip(self.columns, cell.values, strict=False):
            if name == self.key:
                if value is not None:
                    return None
                row[name] = cell.rowid
            elif not (isinstance(value, kind) or (value is None and optional)):
                return None
            else:
                row[name] = value
        return row


def shape_of(table_info: Iterable[tuple[int, str, str, int, object, int]]) -> TableShape:
    """The shape from what SQLite's `PRAGMA table_info` says of a table."""
    columns = list(table_info)
    keys = [name for _, name, declared, _, _, place in columns if place and declared.upper() == "INTEGER"]
    alone = sum(bool(place) for *_, place in columns) == 1
    return TableShape(
        tuple((name, _kind(declared), not needed) for _, name, declared, needed, _, _ in columns),
        keys[0] if keys and alone else None,
    )


def only_table(shapes: Mapping[str, TableShape], cell: Cell) -> str | None:
    """The table that a row without an owner must be of; None where it could be of several, or of none."""
    fitting = [
        name
        for name, shape in shapes.items()
        if len(cell.values) == len(shape.columns) and shape.row(cell) is not None
    ]
    return fitting[0] if len(fitting) == 1 else None


def _kind(declared: str) -> type:
    if "BLOB" in declared.upper():
        return bytes
    return str if any(word in declared.upper() for word in ("CHAR", "TEXT", "CLOB")) else int
