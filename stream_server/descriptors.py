"""How many connections the limit of open files leaves room for."""

from __future__ import annotations

import logging
import resource
from typing import Final

RESERVE: Final = 512
"""For files, threads, and connections on their way in and out: a backlog of them is accepted at once."""
_logger: Final = logging.getLogger(__name__)


def connections_possible(wanted: int) -> int:
    """`wanted`, or fewer where the limit of open files is low; it is raised first, where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVE
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
        except (OSError, ValueError) as error:
            _logger.info("the limit of open files stays %d: %s", soft, error)
    possible = wanted if soft == resource.RLIM_INFINITY else min(wanted, room_below(soft))
    if possible < wanted:
        _logger.warning(
            "only %d connections at once, not limits.connections = %d: the limit of open files is %d; "
            "LimitNOFILE=%d in the unit raises it", possible, wanted, soft, needed,
        )  # fmt: skip
    return possible


def room_below(limit: int) -> int:
    """So many connections leave a reserve below a limit of open files, and half of a low one."""
    return max(limit - RESERVE, limit // 2)
