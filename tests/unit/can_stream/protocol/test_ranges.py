"""Every number that can come from outside has a range, and storage can hold all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
from msgspec import inspect

from can_stream.protocol import control, lanes_control
from stream_server.app import ROUTES

_OUTSIDE: Final = [
    *get_args(control.AgentControlMessage),
    *get_args(control.ServerControlMessage),
    lanes_control.LanesHello,
    lanes_control._LanesHello1,
    lanes_control.LanesWelcome,
    *(route.request_type for route in ROUTES if route.request_type is not None),
]


def numbers(kind: Any, place: str) -> Iterator[tuple[str, inspect.IntType | inspect.FloatType]]:
    """Every number in a type, and where it is."""
    match kind:
        case inspect.IntType() | inspect.FloatType():
            yield place, kind
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from numbers(field.type, f"{place}.{field.name}")
        case inspect.UnionType(types=types):
            for one in types:
                yield from numbers(one, place)
        case inspect.ListType(item_type=item):
            yield from numbers(item, f"{place}[]")


@pytest.mark.parametrize("message", dict.fromkeys(_OUTSIDE), ids=lambda one: one.__name__)
def test_every_number_has_a_range_that_storage_holds(message: type) -> None:
    for place, number in numbers(inspect.type_info(message), message.__name__):
        lowest = number.gt if number.ge is None else number.ge
        assert lowest is not None, f"{place} may be as small as anybody likes"
        assert number.le is not None, f"{place} may be as large as anybody likes"
        assert lowest >= -(2**63), place
        assert number.le < 2**63, place


def test_a_number_without_a_range_is_found() -> None:
    assert [place for place, _ in numbers(inspect.type_info(list[int] | None), "x")] == ["x[]"]
