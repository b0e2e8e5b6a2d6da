"""What benchmarks share: measuring in turn, medians, and printing as `bench/__init__.py` says."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """What both cost, in `unit`; `ratio` is the peer's cost divided by ours. A subclass adds columns."""

    name: str
    ratio: float
    ours: float
    peer: float
    unit: str


def in_turn(runs: int, *measurements: Callable[[], T]) -> list[tuple[T, ...]]:
    """What each gave, for every run; in each run all of them, one after another."""
    return [tuple(measurement() for measurement in measurements) for _ in range(runs)]


def compare(name: str, unit: str, pairs: list[tuple[float, ...]], per: float = 1.0) -> Comparison:
    """Medians of the (ours, peer) pairs of all runs, divided by `per`; the ratio is that of pairs."""
    ours, peer = (statistics.median(side) / per for side in zip(*pairs, strict=True))
    return Comparison(name, statistics.median(theirs / mine for mine, theirs in pairs), ours, peer, unit)


def cpu_seconds(run: Callable[[], object]) -> float:
    """The CPU time of this process, all threads, that `run` takes."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def show(row: DataclassInstance) -> None:
    """A row of a table: a comparison, or any other."""
    if isinstance(row, Comparison):
        print(f"{row.name} {row.ratio:.1f} {row.ours:.3f} {row.peer:.3f}")
    _show_json(asdict(row))


def show_skipped(what: str) -> None:
    """What is not measured, and what it would need."""
    _show_json({"skipped": what})


def _show_json(row: dict[str, object]) -> None:
    print(json.dumps(row), flush=True)
