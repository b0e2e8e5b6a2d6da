"""What time it is: the only file of the server that reads a clock. Pure modules are told the time."""

from __future__ import annotations

import time
from typing import Final

from stream_server.moment import Moment

# The library's own functions, not wrapped, since a clock is read for every packet.
monotonic_seconds: Final = time.monotonic
"""Seconds since some moment of this boot; never goes back."""
wall_ns: Final = time.time_ns
"""Nanoseconds UTC since 1970, as far as this machine knows."""


def now() -> Moment:
    """This moment on both clocks."""
    return Moment(monotonic_seconds(), wall_ns() // 1000)
