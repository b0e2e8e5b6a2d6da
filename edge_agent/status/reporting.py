"""What is told of the running agent: its services to the server, all of it to who asks on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Final

from can_stream.protocol.control import ServiceStatus, Status
from can_stream.text.timestamps import format_timestamp
from can_stream.version import VERSION
from edge_agent.budget.budget import Budget
from edge_agent.config.sections import AgentConfig
from edge_agent.dongles.dongle import Dongle
from edge_agent.host.clock import Clock
from edge_agent.relay.figures import RelayFigures
from edge_agent.spool.spool import Spool
from edge_agent.status.document import AgentStatus, DongleStatus
from edge_agent.status.frame_rate import FrameRate
from edge_agent.status.services import (
    ServiceMaker,
    agent_service,
    bus_service,
    decoder_service,
    frames_ledger,
    relay_service,
    spool_service,
    uplink_service,
    values_ledger,
)
from edge_agent.uplink.proxy import proxy_for, without_password
from edge_agent.uplink.uplink import Uplink

# What changes more often is told as it is then.
CHANGE_SECONDS: Final = 0.25
SAMPLE_SECONDS: Final = 2.0
_Told = tuple[int, str, str]


class Reporter:
    """Tells the server of services that have changed at once, and of all when asked to.

    `changed` is to be called where a dongle, the uplink or a database may stand differently.
    """

    def __init__(
        self,
        config: AgentConfig,
        start_id: str,
        dongles: Sequence[Dongle],
        uplink: Uplink,
        clock: Clock,
        budget: Budget | None = None,
        spool: Spool | None = None,
        relays: Callable[[], list[RelayFigures]] = list,
    ) -> None:
        self._config = config
        self._start_id = start_id
        self._dongles = dongles
        self._uplink = uplink
        self._clock = clock
        self._budget = budget
        self._spool = spool
        self._relays = relays
        self._started_at_seconds = clock.monotonic_seconds()
        self._rates: dict[str, FrameRate] = {}
        self._told: dict[str, _Told] = {}
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Something may stand differently."""
        self._changed.set()

    def connected(self) -> None:
        """Somebody hears us who may know nothing yet."""
        self._told.clear()
        self._changed.set()

    def tell_all(self) -> None:
        """Every service, as it is now."""
        self._tell(self.services())

    async def run(self) -> None:
        """Tells what has changed, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAMPLE_SECONDS):
                    await self._changed.wait()
            self._sample()
            if self._changed.is_set():
                self._changed.clear()
                self._tell([one for one in self.services() if self._told.get(one.service_id) != _told(one)])
                await asyncio.sleep(CHANGE_SECONDS)

    def services(self) -> list[ServiceStatus]:
        """How every service stands."""
        clock, now_ns = self._clock, self._clock.wall_ns()
        now_seconds = clock.monotonic_seconds()
        maker = ServiceMaker(self._config.agent_id, now_ns)
        services = [
            agent_service(maker, now_seconds - self._started_at_seconds, self._budget),
            uplink_service(maker, self._uplink, self._config.server, now_seconds, now_ns),
        ]
        if self._spool is not None:
            services.append(spool_service(maker, self._spool))
        for dongle in self._dongles:
            services.append(bus_service(maker, dongle, self._rate(dongle).per_second()))
            if dongle.pipeline.decoder is not None:
                services.append(decoder_service(maker, dongle))
        services += [relay_service(maker, one) for one in self._relays()]
        return services

    def snapshot(self) -> AgentStatus:
        """Everything, for the status socket; no secret is in it."""
        self._sample()
        clock, server = self._clock, self._config.server
        return AgentStatus(
            agent_id=self._config.agent_id,
            version=VERSION,
            start_id=self._start_id,
            pid=os.getpid(),
            ts=format_timestamp(clock.wall_ns() // 1000),
            uptime_seconds=round(clock.monotonic_seconds() - self._started_at_seconds, 1),
            clock_synchronised=clock.synchronised(),
            server_url=server.url,
            ca_file=server.ca_file,
            proxy=without_password(proxy_for(server.url)),
            services=self.services(),
            dongles=[self._dongle_status(dongle) for dongle in self._dongles],
            relays=self._relays(),
        )

    def _dongle_status(self, dongle: Dongle) -> DongleStatus:
        rate, values = self._rate(dongle), values_ledger(dongle)
        silent_seconds = rate.silent_seconds(self._clock.monotonic_seconds())
        return DongleStatus(
            dongle_id=dongle.dongle_id,
            interface=dongle.info.interface,
            channel=dongle.info.channel,
            fault=dongle.bus.state.fault,
            frames_per_second=round(rate.per_second(), 1),
            seconds_since_frame=None if silent_seconds is None else round(silent_seconds, 1),
            frames=frames_ledger(dongle).books(),
            values=None if values is None else values.books(),
            mode=dongle.info.mode,
            carried=dongle.is_carried,
        )

    def _rate(self, dongle: Dongle) -> FrameRate:
        return self._rates.setdefault(dongle.dongle_id, FrameRate(self._started_at_seconds))

    def _sample(self) -> None:
        now_seconds = self._clock.monotonic_seconds()
        for dongle in self._dongles:
            self._rate(dongle).sample(now_seconds, dongle.reader.counts.read)

    def _tell(self, services: list[ServiceStatus]) -> None:
        """Only while somebody hears it: of what was missed, only the last would be true."""
        if services and self._uplink.state.connected:
            self._told.update((one.service_id, _told(one)) for one in services)
            self._uplink.say(Status(services))


def _told(service: ServiceStatus) -> _Told:
    return service.status_code, service.status, service.message
