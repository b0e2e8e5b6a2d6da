"""Statements for many rows do what SQLAlchemy's own way does."""

from __future__ import annotations

import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, insert, select, update

from stream_server.storage.bulk import Bulk

_TABLE = Table("things", MetaData(), Column("a", Integer, primary_key=True), Column("b", Text))


def test_rows_are_written_and_changed_whatever_the_order_of_their_values() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    _TABLE.metadata.create_all(engine)
    put = Bulk(insert(_TABLE), ("b", "a"))
    change = Bulk(
        update(_TABLE).where(_TABLE.c.a == bindparam("key")).values(b=bindparam("new")), ("key", "new")
    )
    with engine.begin() as connection:
        put.execute(connection, [("one", 1), ("two", 2)])
        put.execute(connection, [])
        put.execute(connection, [("three", 3)])
        change.execute(connection, [(2, "2"), (3, None)])
        rows = connection.execute(select(_TABLE).order_by(_TABLE.c.a)).all()
    assert [tuple(row) for row in rows] == [(1, "one"), (2, "2"), (3, None)]
    engine.dispose()


def test_a_statement_of_other_parameters_is_refused() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.begin() as connection, pytest.raises(AssertionError, match="are the parameters"):
        Bulk(update(_TABLE).values(b=bindparam("new")), ("old",)).execute(connection, [(1,)])
    engine.dispose()
