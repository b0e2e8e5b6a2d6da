"""What an agent has of the relay where its file lets groups transmit: a sink for each dongle that may, and
the one connection that feeds them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import CanEmptyQueue, Confirms
from can_stream.protocol.relay_control import Totals, plus
from edge_agent.config.scoping import relay_for
from edge_agent.config.transmit import RelaySection
from edge_agent.helper.emptier import QueueHelper
from edge_agent.host.clock import Clock
from edge_agent.relay.account.by_id import MOST_IDS
from edge_agent.relay.bus_watch import BusWatch
from edge_agent.relay.downlink.connection import Downlink, DownlinkState
from edge_agent.relay.figures import RelayFigures
from edge_agent.relay.record_file import open_record
from edge_agent.relay.running import BusPort, SinkRunner
from edge_agent.relay.sink import Sink, SinkLimits
from edge_agent.relay.stopping import Switches, stop_file
from edge_agent.transmit.policy import RelayPolicy
from edge_agent.uplink.opening import ServerDoor

if TYPE_CHECKING:
    from edge_agent.transmit.gate_watch import GateWatch

# Of all dongles in one document, which has a bound.
MOST_ROWS: Final = 4096


class Target(Struct, frozen=True):
    """A dongle on whose bus groups may put frames. `helper` can empty its driver's queue."""

    dongle_id: str
    port: BusPort
    helper: QueueHelper | None = None


class Places(Struct, frozen=True):
    """`state`: where it is kept that somebody said stop. `runtime`: where the records are, for this boot."""

    state: Path
    runtime: Path


class Side(Struct, frozen=True):
    """How a dongle's sink stands, as the server is told of it in `RelaySide`."""

    confirms: Confirms
    can_empty_queue: CanEmptyQueue
    stopped: str


class Relay:
    """`on_change` is called where a `side` or the connection changes. RelayError where there is no record."""

    def __init__(
        self,
        section: RelaySection,
        targets: Sequence[Target],
        places: Places,
        door: ServerDoor,
        start_id: str,
        clock: Clock,
        may_connect: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        self._on_change = on_change
        self._gates: GateWatch | None = None
        self._runners = {one.dongle_id: self._runner(section, one, places, clock) for one in targets}
        sinks = {dongle_id: runner.sink for dongle_id, runner in self._runners.items()}
        self._downlink = Downlink(
            door,
            start_id,
            sinks,
            section.lease_seconds,
            clock,
            may_connect,
            on_news=self._wake,
            on_state=self._connection_changed,
        )

    def watch(self, gates: GateWatch) -> None:
        """By these it is known whether gates hold; where the file has any, nothing is sent before."""
        self._gates = gates

    def hear(self, dongle_id: str, frames: FrameBatch) -> FrameBatch:
        """What was read from a bus; what `SinkRunner.hear` makes of it."""
        runner = self._runners.get(dongle_id)
        if runner is not None:
            frames = runner.hear(frames)
        if self._gates is not None:
            self._gates.hear(dongle_id, frames)
        return frames

    def side(self, dongle_id: str) -> Side:
        """Of a dongle that has a sink."""
        runner = self._runners[dongle_id]
        return Side(runner.confirms, runner.can_empty_queue, runner.stopped)

    def figures(self) -> list[RelayFigures]:
        """How it stands, dongle by dongle."""
        return [self._figures(dongle_id, runner) for dongle_id, runner in self._runners.items()]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for dongle_id, runner in self._runners.items():
                group.create_task(runner.run(), name=f"relay to {dongle_id}")
            group.create_task(self._downlink.run(), name="downlink")

    def _runner(self, section: RelaySection, target: Target, places: Places, clock: Clock) -> SinkRunner:
        section, now_ns = relay_for(section, target.dongle_id), clock.boottime_ns()
        record = open_record(places.runtime, target.dongle_id, clock.boot_id(), now_ns)
        assert section.max_age_seconds is not None
        limits = SinkLimits(
            section.max_age_seconds,
            section.lease_seconds,
            section.max_bus_load,
            section.max_live_bus_load,
            section.dry_run,
        )
        enable_file = None if section.enable_file is None else Path(section.enable_file)
        return SinkRunner(
            Sink(target.dongle_id, record, RelayPolicy(section), limits, now_ns),
            target.port,
            BusWatch(section.asleep_after_seconds, wake=section.wake),
            Switches(
                stop_file(places.state, target.dongle_id),
                enable_file,
                self._gate_of(section, target.dongle_id),
            ),
            clock,
            on_reports=self.reports_wait,
            on_change=self._on_change,
            helper=target.helper,
        )

    def _gate_of(self, section: RelaySection, dongle_id: str) -> Callable[[int], str]:
        def closed(now_ns: int) -> str:
            if self._gates is None:
                return "nobody watches the gates" if section.gate else ""
            return self._gates.closed(dongle_id, now_ns)

        return closed

    def _figures(self, dongle_id: str, runner: SinkRunner) -> RelayFigures:
        downlink = self._downlink
        direction = downlink.direction(dongle_id)
        side = self.side(dongle_id)
        return RelayFigures(
            dongle_id=dongle_id,
            connected=downlink.state.connected,
            message=downlink.state.message,
            stop_file=str(runner.switches.stop_file),
            source_dongle_id=None if direction is None else direction.source_dongle_id,
            dry_run=direction is not None and direction.dry_run,
            waits_for=runner.sink.waits_for,
            stopped=side.stopped,
            gate=runner.gate,
            confirms=side.confirms,
            totals=_sum([cursor.totals for cursor in runner.sink.hello().cursors]),
            latency_ms=runner.sink.latencies.last_ms if downlink.state.connected else None,
            malformed=downlink.malformed,
            asleep=runner.is_asleep,
            bit_rate=runner.bit_rate,
            group=downlink.group(dongle_id),
            by_id=runner.sink.by_id.rows(min(MOST_IDS, MOST_ROWS // len(self._runners))),
            hops=runner.sink.latencies.hops.hops,
        )

    def _wake(self) -> None:
        for runner in self._runners.values():
            runner.wake()

    def reports_wait(self) -> None:
        """A sink has something to report."""
        self._downlink.reports_wait()

    def _connection_changed(self, _: DownlinkState) -> None:
        self._on_change()


def _sum(totals: Sequence[Totals]) -> Totals:
    whole = Totals()
    for one in totals:
        whole = plus(
            whole,
            sent=one.sent,
            accepted=one.accepted,
            in_doubt=one.in_doubt,
            not_sent=one.not_sent,
        )
    return whole
