"""What the helper does, and for whom: rules without a socket, a file or a clock."""

from __future__ import annotations

from typing import Final

PAUSE_SECONDS: Final = 10.0
"""An interface is taken down once in so long at most."""
# The cgroup of the agent's service (docs/operations.md). Users have services too, in slices of theirs.
_AGENT_GROUP: Final = "/system.slice/edge-agent.service"
_WRITABLE_BY_OTHERS: Final = 0o022


def is_trusted(owner: int, mode: int) -> bool:
    """Whether a file is root's, and nobody else may write to it."""
    return owner == 0 and not mode & _WRITABLE_BY_OTHERS


def is_agent(user: int, groups: str, status: str) -> bool:
    """Whether a process is the agent's service, by its /proc/PID/cgroup and /proc/PID/status.

    `user` is who the kernel says had connected: a process that ended meanwhile, whose number a process of the
    agent has by now, was another user.
    """
    is_in_service = any(_is_agent_group(line) for line in groups.splitlines())
    users = [line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")]
    return is_in_service and users == [[str(user)] * 4]


class Pauses:
    """When each interface was taken down last. Times of any one clock, in seconds."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def wait_seconds(self, channel: str, now_seconds: float) -> float:
        """How long it has to be left alone from now on; 0: not any more."""
        last_seconds = self._last.get(channel)
        return 0.0 if last_seconds is None else max(0.0, last_seconds + PAUSE_SECONDS - now_seconds)

    def taken(self, channel: str, now_seconds: float) -> None:
        """It is taken down now."""
        self._last[channel] = now_seconds


def _is_agent_group(line: str) -> bool:
    """cgroups(7): `0::PATH` of the one hierarchy, `N:name=systemd:PATH` where there are several."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    return controllers in ("", "name=systemd") and path == _AGENT_GROUP
