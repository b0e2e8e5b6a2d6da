"""A statement for very many rows: what SQLAlchemy does for each of them costs more than the row itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.dml import UpdateBase


class Bulk:
    """`statement`, compiled once, with the parameters `names`. Values go to the driver as they are."""

    def __init__(self, statement: UpdateBase, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = tuple(names)
        self._text: str | None = None
        self._order: Sequence[int] | None = None

    def execute(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        """Execute it for each row: the values of `names`, in their order."""
        if not rows:
            return
        if self._text is None:
            self._compile(connection)
        if self._order is not None:
            rows = [tuple(row[i] for i in self._order) for row in rows]
        connection.exec_driver_sql(self._text or "", rows)

    def _compile(self, connection: Connection) -> None:
        compiled = self._statement.compile(dialect=connection.dialect, column_keys=list(self._names))
        order = tuple(compiled.positiontup or ())
        assert set(order) == set(self._names), f"{order} are the parameters, not {self._names}"
        if order != self._names:
            self._order = [self._names.index(name) for name in order]
        self._text = str(compiled)
