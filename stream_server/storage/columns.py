"""What the schemas of both files share: types of columns, names of constraints. Times are nanoseconds UTC."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Integer, MetaData, String

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
