"""How a CAN interface stands, from its reader, its error frames and what the kernel knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from can_stream.frames.batches import FrameBatch
from edge_agent.config.can_settings import CanSettings
from edge_agent.errors import SourceError
from edge_agent.health.bus_errors import ErrorNews, hears_the_bus, read_errors
from edge_agent.health.link_counters import STALL_SECONDS, Stall, TwoWitnesses, grown
from edge_agent.host.can_set_up import differences, set_up_by_hand
from edge_agent.host.rtnetlink import CanLink
from edge_agent.state import State, StatusCode

# What is over is told for so long, so that nothing flaps that comes and goes.
HOLD_SECONDS: Final = 5.0
# A bus with so many errors for so long, and no frame, has another bit rate.
MUTE_SECONDS: Final = 2.0
MUTE_ERRORS: Final = 10
_CANFD_MTU: Final = 72

_FAULT_OF_STATE: Final = {
    "error-warning": "error_warning", "error-passive": "error_passive", "bus-off": "bus_off",
}  # fmt: skip
_CHECK_THE_BUS: Final = "check the bit rate, the wiring and the termination (120 ohm at both ends)"
_FASTER: Final = "use a faster adapter or machine, or less load on it"
# The worst first.
_MESSAGES: Final = {
    "bus_off": "",
    "wrong_bitrate": f"{{channel}} hears only errors and no frame: {_CHECK_THE_BUS}",
    "dead_driver": "the driver of {channel} stood still and works again: if it often does, use another",
    "error_passive": f"{{channel}} is error-passive: {_CHECK_THE_BUS}",
    "overrun": f"{{channel}} has lost frames, nobody knows how many: its driver was full; {_FASTER}",
    "dropped": f"frames of {{channel}} come faster than the agent reads them: {_FASTER}; "
    "`sudo sysctl net.core.rmem_max=8388608` lets more of them wait",
    "no_ack": "{channel} gets no acknowledgement for what it sends: check that another node is on",
    "tx_timeout": "{channel} cannot send: check that another node is on, and the wiring",
    "wrong_mode": "",
    "fd_mismatch": "",
    "wiring": "the transceiver of {channel} reports that {wires}: check the wiring",
    "bus_errors": f"{{channel}} sees errors on the bus: {_CHECK_THE_BUS}",
    "error_warning": f"{{channel}} sees many errors on the bus: {_CHECK_THE_BUS}",
}  # fmt: skip
FAULTS: Final = tuple(_MESSAGES)


class BusHealth:
    """One interface. Times are of the monotonic clock; a fault that is over is told for `HOLD_SECONDS` more.

    `has_kernel_filters`: the socket does not get all that the interface receives.
    """

    def __init__(self, settings: CanSettings, has_kernel_filters: bool = False) -> None:
        self.settings = settings
        self.error_frames = 0
        self.errors_by_class: dict[str, int] = {}
        self._has_kernel_filters = has_kernel_filters
        self._source = State(StatusCode.STARTING, f"opening {settings.channel}")
        self._link: CanLink | None = None
        self._state: str | None = None
        self._wires = ""
        self._held_until_seconds: dict[str, float] = {}
        self._heard_seconds = 0.0
        self._errors_since_heard = TwoWitnesses()
        self._controller = TwoWitnesses()
        self._driver = TwoWitnesses()
        self._stall = Stall()

    def take_source(self, state: State, now_seconds: float) -> None:
        """What the reader says. Once it reads, or reads no more, what was known is of another time."""
        was_dead = self._source.fault == "dead_driver"
        self._source = state
        self._link, self._state = None, None
        self._held_until_seconds.clear()
        self._stall = Stall()
        self._hear(now_seconds)
        if was_dead:
            self._hold("dead_driver", now_seconds)

    def take_frames(self, batch: FrameBatch, now_seconds: float) -> tuple[ErrorNews | None, bool]:
        """What came over the socket: what its error frames say, and whether that is a loss not yet known."""
        news = read_errors(batch)
        if len(batch) > (news.frames if news else 0):
            self._hear(now_seconds)
        if news is not None:
            return news, self._take_errors(news, now_seconds)
        if self._state == "bus-off" and hears_the_bus(batch):
            self._take_state("error-active", now_seconds)
        return None, False

    def take_loss(self, now_seconds: float) -> None:
        """Frames were dropped on their way from the driver to the agent."""
        self._hold("dropped", now_seconds)

    def take_link(
        self, link: CanLink | None, frames_seen: int, now_seconds: float
    ) -> tuple[int, SourceError | None]:
        """What the kernel says: how many overruns are new, and why the bus must be opened again.

        `frames_seen`: how many frames the reader has got or missed. None: there is no such interface.
        """
        before, self._link = self._link, link
        if self._source.code is not StatusCode.OK:
            return 0, None
        if before is not None and (link is None or link.index != before.index):
            reason = "is gone" if link is None else "is another one than before: it was plugged in again"
            return 0, SourceError("NO_DEVICE", f"{self.settings.channel} {reason}", "it is opened again")
        if link is None:
            return 0, None
        if link.state is not None:
            self._take_state(link.state, now_seconds)
        overruns = self._take_counters(before, link, now_seconds)
        self._take_statistics(before, link, now_seconds)
        is_stalled = self._can_be_judged(link) and self._stall.look(
            link.counters.rx_packets, frames_seen, now_seconds
        )
        return overruns, self._dead_driver() if is_stalled else None

    def state(self, now_seconds: float) -> State:
        """How the bus stands now, and what to do about it."""
        if self._source.code is not StatusCode.OK:
            return self._source
        messages = dict(self._configuration_faults())
        held = {fault for fault, until in self._held_until_seconds.items() if now_seconds < until}
        held |= {_FAULT_OF_STATE[self._state]} if self._state in _FAULT_OF_STATE else set()
        messages |= {fault: self._message(fault) for fault in held if fault not in messages}
        if not messages:
            return State(StatusCode.OK, self._source.message + self._settings_text())
        worst, *others = [fault for fault in FAULTS if fault in messages]
        code = StatusCode.FAILED if worst == "bus_off" else StatusCode.DEGRADED
        also = f"; also: {', '.join(others)}" if others else ""
        return State(code, messages[worst] + also, worst)

    def metrics(self) -> dict[str, Any]:
        """Counts since the start, and the interface's settings as they are; None is left out."""
        counts = {f"error_frames_{name}": count for name, count in self.errors_by_class.items()}
        told: dict[str, Any] = {
            "error_frames": self.error_frames,
            **counts,
            **({} if self._state is None else {"controller_state": self._state}),
            "controller_overruns": self._controller.total,
            "driver_overruns": self._driver.total,
        }
        return told if self._link is None else told | _link_metrics(self._link)

    def _take_errors(self, news: ErrorNews, now_seconds: float) -> bool:
        self.error_frames += news.frames
        for name, count in news.by_class.items():
            self.errors_by_class[name] = self.errors_by_class.get(name, 0) + count
        is_new_loss = self._controller.tell(news.overflows, 0) > 0
        self._errors_since_heard.tell(news.violations, 0)
        self._wires = news.wires or self._wires
        told = {
            "overrun": news.overflows, "bus_errors": news.violations, "wiring": news.wires,
            "no_ack": news.by_class.get("no_ack"), "tx_timeout": news.by_class.get("tx_timeout"),
        }  # fmt: skip
        for fault in (fault for fault, count in told.items() if count):
            self._hold(fault, now_seconds)
        for state in (news.worst_state, news.last_state):
            if state is not None:
                self._take_state(state, now_seconds)
        if self._state == "bus-off" and news.is_bus_off_over:
            self._take_state("error-active", now_seconds)
        return is_new_loss

    def _take_state(self, state: str, now_seconds: float) -> None:
        if self._state != state and self._state in _FAULT_OF_STATE:
            self._hold(_FAULT_OF_STATE[self._state], now_seconds)
        self._state = state

    def _take_counters(self, before: CanLink | None, link: CanLink, now_seconds: float) -> int:
        """New overruns."""
        if before is None:
            return 0
        growth = grown(before.counters, link.counters)
        new = self._controller.tell(0, growth["rx_over_errors"])
        new += self._driver.tell(growth["rx_fifo_errors"] + growth["rx_missed_errors"], growth["rx_dropped"])
        if new:
            self._hold("overrun", now_seconds)
        return new

    def _take_statistics(self, before: CanLink | None, link: CanLink, now_seconds: float) -> None:
        if before is not None and before.statistics and link.statistics:
            if link.statistics.bus_off > before.statistics.bus_off:
                self._hold("bus_off", now_seconds)
            errors = max(link.statistics.bus_error - before.statistics.bus_error, 0)
            self._errors_since_heard.tell(0, errors)
            if errors:
                self._hold("bus_errors", now_seconds)
        is_mute = now_seconds - self._heard_seconds >= MUTE_SECONDS and not self._has_kernel_filters
        if link.has_controller and is_mute and self._errors_since_heard.total >= MUTE_ERRORS:
            self._hold("wrong_bitrate", now_seconds)

    def _hear(self, now_seconds: float) -> None:
        """A frame has come, so the bit rate is right."""
        self._heard_seconds, self._errors_since_heard = now_seconds, TwoWitnesses()
        self._held_until_seconds.pop("wrong_bitrate", None)

    def _can_be_judged(self, link: CanLink) -> bool:
        """Whether the socket should get all that the interface counts as received."""
        knows_all_kinds = not link.fd or self.settings.fd
        return knows_all_kinds and link.mtu_bytes <= _CANFD_MTU and not self._has_kernel_filters

    def _dead_driver(self) -> SourceError:
        reason = (
            f"{self.settings.channel} receives frames, but none has come to the agent for {STALL_SECONDS:g} s"
        )
        return SourceError("DEAD", reason, "it is opened again; if that does not help, plug it in again")

    def _configuration_faults(self) -> Iterator[tuple[str, str]]:
        link, settings = self._link, self.settings
        if link is None:
            return
        wrong = {one.name: one for one in differences(settings, link)}
        remedy = f"run `{set_up_by_hand(settings, link)}`"
        for name, key in (("bitrate", "bitrate"), ("data_bitrate", "data_bitrate")):
            if name in wrong and link.bitrate is not None:
                has = f"{settings.channel} has a {name.replace('_', ' ')} of {wrong[name].effective} bit/s"
                yield (
                    "wrong_bitrate",
                    f"{has}, not the configured {wrong[name].wanted}: {remedy}, or correct `{key}`",
                )
        if "listen_only" in wrong:
            now = "is listen-only" if link.listen_only else "acknowledges frames, for it is not listen-only"
            mode = "listen_only" if link.listen_only else "normal"
            yield "wrong_mode", f'{settings.channel} {now}: {remedy}, or set `mode = "{mode}"`'
        if "fd" in wrong:
            now = (
                "is set up for CAN FD, whose frames are not read"
                if link.fd
                else "is set up for classic CAN only"
            )
            yield "fd_mismatch", f"{settings.channel} {now}: {remedy}, or correct `fd`"

    def _settings_text(self) -> str:
        link = self._link
        if link is None or link.bitrate is None:
            return ""
        data = f" and {link.data_bitrate} bit/s" if link.fd and link.data_bitrate else ""
        return f", {link.bitrate} bit/s{data}, {_mode(link).replace('_', '-')}"

    def _message(self, fault: str) -> str:
        channel = self.settings.channel
        if fault != "bus_off":
            return _MESSAGES[fault].format(channel=channel, wires=self._wires)
        if self._state != "bus-off":
            return f"{channel} was bus-off and has started again: {_CHECK_THE_BUS}"
        restart_ms = None if self._link is None else self._link.restart_ms
        if restart_ms == 0:
            by_hand = f"set `restart_seconds`, or run `sudo ip link set {channel} type can restart`"
            return f"bus-off on {channel}: restart-ms is 0, {by_hand}; {_CHECK_THE_BUS}"
        again = f"it starts again after {restart_ms} ms; " if restart_ms else ""
        return f"bus-off on {channel}: {again}{_CHECK_THE_BUS}"

    def _hold(self, fault: str, now_seconds: float) -> None:
        self._held_until_seconds[fault] = now_seconds + HOLD_SECONDS


def _mode(link: CanLink) -> str:
    if link.listen_only:
        return "listen_only"
    return "loopback" if link.loopback else "normal"


def _link_metrics(link: CanLink) -> dict[str, Any]:
    told: dict[str, Any] = {
        "is_up": link.is_up,
        "interface_kind": link.kind,
        "tx_queue_length": link.tx_queue_length,
    }
    if link.has_controller:
        told |= {
            "mode": _mode(link),
            "fd": link.fd,
            "bitrate": link.bitrate,
            "sample_point_permille": link.sample_point_permille,
            "data_bitrate": link.data_bitrate,
            "restart_ms": link.restart_ms,
            "tx_error_counter": link.tx_errors,
            "rx_error_counter": link.rx_errors,
        }
    if link.statistics is not None:
        told |= {"bus_offs": link.statistics.bus_off, "restarts": link.statistics.restarts}
    return {name: value for name, value in told.items() if value is not None}
