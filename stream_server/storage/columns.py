"""What the schemas of both files share: types of columns, names of constraints. Times are nanoseconds UTC."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Integer, MetaData, String, cast, func

# SQLite numbers rows by itself only where the key's type is INTEGER.
RowId: Final = BigInteger().with_variant(Integer, "sqlite")
Name: Final = String(64)
Hash: Final = String(64)
TableHash: Final = String(32)


def new_metadata() -> MetaData:
    """The tables of one file, with constraints named alike in each."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def total(counts: ColumnElement[Any]) -> ColumnElement[int]:
    """What they say together, 0 of none: what agents declare may add up to more than `sum` can hold.

    Above 2^53 it is about right, and never above 2^63 - 1.
    """
    return cast(func.total(counts), BigInteger)
