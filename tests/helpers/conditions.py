"""Waiting for what must happen soon, with a bound and never for a guessed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

DEADLINE_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.02


def eventually(look: Callable[[], T], what: str, timeout_seconds: float = DEADLINE_SECONDS) -> T:
    """The first truthy value of `look`. AssertionError that names `what` did not happen."""
    deadline = time.monotonic() + timeout_seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_seconds} s, last seen: {found!r}"
        time.sleep(_LOOK_AGAIN_SECONDS)
    return found
