"""From a dongle's configuration to its opened source."""

from __future__ import annotations

from pathlib import Path

from edge_agent.bus.source import Source
from edge_agent.config.dongle import DongleSection
from edge_agent.host.clock import Clock


def open_source(
    dongle: DongleSection, clock: Clock | None = None, answered: set[str] | None = None
) -> Source:
    """The source that `dongle.interface` names, opened; for a `SourceReader`. Raises SourceError.

    `answered` is what an adapter's driver knows of earlier times, see `SlcanBus`.
    """
    if dongle.interface == "log":
        from edge_agent.bus.log_bus import LogBus  # noqa: PLC0415 - memory of what is not used

        return LogBus(Path(dongle.channel), dongle.log_options(), clock)
    if dongle.interface == "socketcan":
        from edge_agent.bus.socketcan import SocketCanBus  # noqa: PLC0415 - as above

        return SocketCanBus(dongle, clock)
    if dongle.interface == "slcan":
        from edge_agent.bus.slcan import SlcanBus  # noqa: PLC0415 - as above

        return SlcanBus(dongle, clock, answered)
    from edge_agent.bus.python_can_bus import PythonCanBus  # noqa: PLC0415 - as above

    return PythonCanBus(dongle, clock)
