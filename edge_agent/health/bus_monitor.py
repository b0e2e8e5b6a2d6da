"""One dongle's bus as its service tells of it: reader, frames and kernel in one state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from edge_agent.bus.source import Dropped, Item
from edge_agent.config.dongle import DongleSection
from edge_agent.health.bus_health import BusHealth
from edge_agent.state import State, StatusCode


class BusMonitor:
    """Tells `on_state` each change. Only SocketCAN has a `health`: elsewhere the reader knows all there is.

    `channel` is what its interface is called now. `on_trouble` is called where the kernel should be asked at
    once.
    """

    def __init__(
        self,
        section: DongleSection,
        monotonic_seconds: Callable[[], float],
        on_state: Callable[[State], None],
        channel: Callable[[], str] | None = None,
    ) -> None:
        self.state = State(StatusCode.STARTING, f"opening {section.id}")
        self.health: BusHealth | None = None
        self.on_trouble: Callable[[], None] = lambda: None
        self._channel = channel or (lambda: section.place)
        self._monotonic_seconds = monotonic_seconds
        self._on_state = on_state
        if section.interface == "socketcan":
            self.health = BusHealth(section.can_settings(), section.filters_in_kernel)

    @property
    def metrics(self) -> dict[str, Any]:
        """What is counted and known beside the reader's counts."""
        return {"fault": self.state.fault} | ({} if self.health is None else self.health.metrics())

    def take_source(self, state: State) -> None:
        """What the reader says of its source."""
        if self.health is None:
            self._tell(state)
            return
        self.health.settings = replace(self.health.settings, channel=self._channel())
        self.health.take_source(state, self._monotonic_seconds())
        self.look()
        self.on_trouble()

    def take_item(self, item: Item) -> Iterator[Item]:
        """What the reader gives, with the controller's losses where its error frames tell of them."""
        if self.health is None:
            yield item
            return
        now_seconds = self._monotonic_seconds()
        if isinstance(item, Dropped):
            self.health.take_loss(now_seconds)
            yield item
        else:
            news, is_loss = self.health.take_frames(item, now_seconds)
            if news is None:
                yield item
                return
            begin, last = news.overflow_rows
            if is_loss:
                yield item[: begin + 1]
                yield Dropped(None, int(item.timestamp_ns[begin]), int(item.timestamp_ns[last]))
            yield item[begin + 1 :] if is_loss else item
            self.on_trouble()
        self.look()

    def look(self) -> None:
        """Tells how the bus stands where that has changed, be it by time alone."""
        if self.health is not None:
            self._tell(self.health.state(self._monotonic_seconds()))

    def _tell(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state)
