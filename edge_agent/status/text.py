"""A running agent's status as a person reads it: the verdict, every service, every dongle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from can_stream.protocol.control import ServiceStatus
from can_stream.text.foreign import shown
from edge_agent.state import StatusCode
from edge_agent.status.accounting import grouped, unread
from edge_agent.status.document import AgentStatus, DongleStatus

_MAX_CHARACTERS: Final = 2_000
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def is_well(status: AgentStatus) -> bool:
    """Whether no service is degraded or has failed."""
    return not _ill(status)


def verdict(status: AgentStatus) -> str:
    """One line that says how it stands."""
    ill = _ill(status)
    starting = [one.agent_service_id for one in status.services if one.status_code == StatusCode.STARTING]
    if ill:
        worst = "FAILED" if any(one.status_code == StatusCode.FAILED for one in ill) else "DEGRADED"
        return f"{worst}: agent {status.agent_id}: {', '.join(one.agent_service_id for one in ill)}"
    if starting:
        return f"STARTING: agent {status.agent_id}: {', '.join(starting)}"
    lost = sum(dongle.frames.lost for dongle in status.dongles)
    total = sum(dongle.frames.total for dongle in status.dongles)
    unusable = sum(dongle.frames.hops.get("malformed", 0) for dongle in status.dongles)
    text = f"OK: agent {status.agent_id}; {grouped(lost)} lost of {grouped(total)} frames"
    return f"{text}; {unread(unusable)}" if unusable else text


def status_lines(status: AgentStatus) -> Iterator[str]:
    """The whole text. What others wrote is made safe for a terminal."""
    yield status_line(verdict(status))
    yield ""
    width = max((len(one.agent_service_id) for one in status.services), default=0)
    for service in status.services:
        extra = _extra(service, status)
        message = f"{service.message}; {extra}" if extra else service.message
        yield status_line(f"{service.agent_service_id:<{width}}  {service.status:<8}  {message}")
    yield ""
    for dongle in status.dongles:
        yield from map(status_line, _dongle_lines(dongle))


def status_line(text: str) -> str:
    """One line of bounded length, as it may be shown."""
    return shown(text, _MAX_CHARACTERS)


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 5 min`, `12 d 3 h`."""
    whole = int(seconds)
    parts: list[str] = []
    for size, unit in _UNITS:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or f"{whole} s"


def size(count: float) -> str:
    """`812 B`, `1.5 kB`, `20.0 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _ill(status: AgentStatus) -> list[ServiceStatus]:
    return [one for one in status.services if one.status_code in (StatusCode.DEGRADED, StatusCode.FAILED)]


def _extra(service: ServiceStatus, status: AgentStatus) -> str:
    if service.agent_service_id == "agent":
        clock = "" if status.clock_synchronised else ", its clock is not synchronised"
        return f"process {status.pid}, running for {duration(status.uptime_seconds)}{clock}"
    if service.agent_service_id != "uplink":
        return ""
    numbers = {name: value for name, value in service.metrics.items() if isinstance(value, int | float)}
    up, down = size(numbers.get("bytes_up_today", 0)), size(numbers.get("bytes_down_today", 0))
    text = f"today {up} up, {down} down; {numbers.get('reconnects', 0)} reconnects"
    waiting, oldest = numbers.get("packets_unacknowledged", 0), numbers.get("oldest_unacknowledged_seconds")
    if waiting:
        age = "" if oldest is None else f", the oldest for {duration(oldest)}"
        text += f"; {grouped(int(waiting))} packets wait{age}"
    return text


def _dongle_lines(dongle: DongleStatus) -> Iterator[str]:
    silence = ""
    if dongle.seconds_since_frame is None:
        silence = ", no frame yet"
    elif dongle.frames_per_second == 0:
        silence = f", silent for {duration(dongle.seconds_since_frame)}"
    rate = f"{dongle.frames_per_second:.1f} frames/s{silence}"
    yield f"{dongle.dongle_id} ({dongle.interface} {dongle.channel}): {rate}; {dongle.frames.sentence}"
    waiting = dongle.frames.hops.get("waiting", 0)
    if waiting:
        yield f"  {grouped(waiting)} frames wait for the server"
    if dongle.values is not None:
        yield f"  values: {dongle.values.sentence}"
