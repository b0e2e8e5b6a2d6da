"""What the collector sets aside, and that it comes back to it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from stream_server.garbage import Survivors


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def now_seconds() -> Iterator[list[float]]:
    """The clock; the collector is as it was behind the test."""
    clock = [0.0]
    survivors = Survivors(lambda: clock[0])
    gc.callbacks.append(survivors)
    yield clock
    gc.callbacks.remove(survivors)
    gc.unfreeze()


def test_survivors_are_looked_at_again_after_an_hour(now_seconds: list[float]) -> None:
    old = Cycle()
    gone = weakref.ref(old)
    gc.collect()
    frozen = gc.get_freeze_count()
    assert frozen
    del old
    gc.collect()
    assert gone() is not None
    now_seconds[0] = 3600.0
    gc.collect()
    assert gone() is None
    assert gc.get_freeze_count() > frozen / 2


def test_what_is_new_is_collected_as_always(now_seconds: list[float]) -> None:
    gc.collect()
    gone = weakref.ref(Cycle())
    gc.collect()
    assert gone() is None
