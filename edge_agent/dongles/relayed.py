"""Which dongles groups may write to, as the relay sees them. Imported where there is one: it costs memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from can_stream.protocol.control import RelaySide
from edge_agent.config.scoping import relay_for, relayed_to
from edge_agent.config.sections import AgentConfig
from edge_agent.dongles.dongle import Dongle
from edge_agent.errors import HelperError, RelayError, SourceError
from edge_agent.helper.asking import empty_queue, is_reachable
from edge_agent.host.clock import Clock
from edge_agent.host.runtime_directory import make_runtime_directory, relay_directory
from edge_agent.host.state_directory import state_directory
from edge_agent.relay.relaying import Places, Relay, Target
from edge_agent.relay.running import BusRates
from edge_agent.relay.side import relay_side
from edge_agent.state import StatusCode
from edge_agent.transmit.policy import TargetBus
from edge_agent.transmit.writer import Writer
from edge_agent.uplink.uplink import Uplink

if TYPE_CHECKING:
    from can_stream.signals.table import SignalTable
    from edge_agent.transmit.gate_watch import GateWatch

_UP: Final = frozenset({StatusCode.OK, StatusCode.DEGRADED})
_logger: Final = logging.getLogger(__name__)


class DonglePort:
    """The bus of a dongle, to be written to."""

    def __init__(self, dongle: Dongle) -> None:
        self._dongle = dongle

    @property
    def writer(self) -> Writer | None:
        """Of the bus as it is open now."""
        return self._dongle.reader.writer

    @property
    def is_up(self) -> bool:
        """Whether it is read, and not bus-off or down."""
        return self._dongle.bus.state.code in _UP

    @property
    def rates(self) -> BusRates:
        """As the kernel has set the interface up, else as the configuration says."""
        section, link = self._dongle.section, self._dongle.link
        bit_rate = section.bitrate if link is None or link.bitrate is None else link.bitrate
        data = section.data_bitrate if link is None or link.data_bitrate is None else link.data_bitrate
        bus = TargetBus(listen_only=section.mode != "normal", fd=section.fd)
        return BusRates(bus, bit_rate, data or bit_rate)

    def hurry(self, seconds: float) -> None:
        """Reads without a beat for so long."""
        self._dongle.reader.hurry(seconds)

    def reopen(self, why: SourceError) -> None:
        """It cannot be written to."""
        self._dongle.reader.reopen(why)


class InterfaceHelper:
    """What takes the interface of a dongle down and up."""

    def __init__(self, dongle: Dongle) -> None:
        self._dongle = dongle

    @property
    def is_there(self) -> bool:
        """Whether there is a helper on this machine."""
        return is_reachable()

    async def empty(self) -> float | None:
        """As `QueueHelper.empty`."""
        link = self._dongle.link
        channel = self._dongle.section.channel if link is None else link.channel
        try:
            answer = await empty_queue(channel)
        except HelperError as error:
            _logger.warning("%s: its queue could not be emptied: %s", channel, error)
            return 0.0
        if not answer.refused:
            _logger.info("%s: it was taken down and up, to empty its queue", channel)
            return None
        _logger.warning("%s: its queue is not emptied (%s): %s", channel, answer.refused, answer.message)
        return answer.wait_seconds


def relay_of(
    config: AgentConfig,
    dongles: Sequence[Dongle],
    uplink: Uplink,
    start_id: str,
    clock: Clock,
    on_change: Callable[[], None],
) -> Relay | None:
    """The relay to those dongles that may transmit; None where there is none, or nothing to keep a record in:
    that is said, and nothing is sent."""
    runtime = relay_directory(config.agent_id)
    may = {section.id for section in relayed_to(config.relay, config.dongles)}
    targets = [one for one in dongles if one.dongle_id in may]
    try:
        make_runtime_directory(runtime.parent)
        runtime.mkdir(mode=0o700, exist_ok=True)
        relay = Relay(
            config.relay,
            [Target(one.dongle_id, DonglePort(one), _helper(one)) for one in targets],
            Places(state_directory(), runtime),
            uplink.door,
            start_id,
            clock,
            lambda: uplink.state.connected,
            on_change,
        )
    except (OSError, RelayError) as error:
        _logger.error("nothing is relayed to this gateway: %s", error)
        return None
    if config.relay.gate:
        relay.watch(_gate_watch(config, dongles, targets))
    for one in targets:
        one.relay_side = partial(_side, config, relay, one)
    return relay


def _gate_watch(config: AgentConfig, dongles: Sequence[Dongle], targets: Sequence[Dongle]) -> GateWatch:
    # Not at the top: an agent without gates has no memory for decoding.
    from edge_agent.transmit.gate_watch import GateBus, GateWatch  # noqa: PLC0415

    gates = {one.dongle_id: relay_for(config.relay, one.dongle_id).gate for one in targets}
    named = {gate.dongle for some in gates.values() for gate in some}
    buses = {
        one.dongle_id: GateBus(partial(_table, one), partial(_born_ns, one))
        for one in dongles
        if one.dongle_id in named
    }
    return GateWatch(gates, buses)


def _table(dongle: Dongle) -> SignalTable | None:
    return None if dongle.databases is None else dongle.databases.table


def _born_ns(dongle: Dongle) -> int:
    return dongle.reader.born_ns


def _helper(dongle: Dongle) -> InterfaceHelper | None:
    return InterfaceHelper(dongle) if dongle.section.interface == "socketcan" else None


def _side(config: AgentConfig, relay: Relay, dongle: Dongle) -> RelaySide:
    side = relay.side(dongle.dongle_id)
    return relay_side(
        config,
        dongle.section,
        transmit=True,
        confirms=side.confirms,
        can_empty_queue=side.can_empty_queue,
        stopped=side.stopped,
    )
