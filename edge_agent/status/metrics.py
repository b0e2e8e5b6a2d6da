"""A running agent's status in the text format of Prometheus. Names and labels stay what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge_agent.relay.account.hop_ages import BOUNDS_MS, Histogram
from edge_agent.state import StatusCode
from edge_agent.status.accounting import FRAME_HOPS, VALUE_HOPS, Books, Hop
from edge_agent.status.document import AgentStatus

_HOPS: Final[Mapping[Literal["frames", "values"], tuple[Hop, ...]]] = {
    "frames": FRAME_HOPS,
    "values": VALUE_HOPS,
}
# Name in the uplink's metrics, name and help here; what only grows is a counter.
_UPLINK_COUNTERS: Final = (
    ("reconnects", "edge_agent_uplink_reconnects", "Connections after the first"),
    ("refusals", "edge_agent_uplink_refusals", "Times the server refused this agent"),
    ("bytes_up", "edge_agent_uplink_sent_bytes", "Bytes in WebSocket messages to the server"),
    ("bytes_down", "edge_agent_uplink_received_bytes", "Bytes in WebSocket messages from the server"),
    ("messages_dropped", "edge_agent_uplink_messages_dropped", "Control messages for which was no room"),
)
_UPLINK_GAUGES: Final = (
    ("packets_unacknowledged", "edge_agent_uplink_unacknowledged_packets", "Packets the server has not got"),
    (
        "oldest_unacknowledged_seconds",
        "edge_agent_uplink_oldest_unacknowledged_seconds",
        "Age of the oldest of them",
    ),
)


def exposition(status: AgentStatus) -> str:
    """All metrics of `status`."""
    registry = CollectorRegistry()
    registry.register(_Metrics(status))
    return generate_latest(registry).decode()


class _Metrics(Collector):
    def __init__(self, status: AgentStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        yield from self._agent()
        yield from self._uplink()
        yield from self._buses()
        for unit in _HOPS:
            yield from self._books(unit)
        if self._status.relays:
            yield from self._relays()

    def _agent(self) -> Iterator[Metric]:
        status = self._status
        info = GaugeMetricFamily("edge_agent_info", "1", labels=["agent_id", "version"])
        info.add_metric([status.agent_id, status.version], 1)
        yield info
        yield GaugeMetricFamily("edge_agent_uptime_seconds", "Since its start", status.uptime_seconds)
        synchronised = float(status.clock_synchronised)
        yield GaugeMetricFamily(
            "edge_agent_clock_synchronised", "1 where the clock is kept right", synchronised
        )
        text = "0 OK, 1 DEGRADED, 2 FAILED, 3 STARTING, 4 STOPPED, 5 UNKNOWN"
        services = GaugeMetricFamily("edge_agent_service_status", text, labels=["service", "type"])
        for service in status.services:
            services.add_metric([service.agent_service_id, service.service_type], service.status_code)
        yield services

    def _uplink(self) -> Iterator[Metric]:
        uplink = self._status.service("uplink")
        connected = uplink is not None and uplink.status_code == StatusCode.OK
        yield GaugeMetricFamily("edge_agent_uplink_connected", "1 while it streams", float(connected))
        metrics: Mapping[str, Any] = {} if uplink is None else uplink.metrics
        for key, name, text in _UPLINK_COUNTERS:
            yield CounterMetricFamily(name, text, float(metrics.get(key) or 0))
        for key, name, text in _UPLINK_GAUGES:
            yield GaugeMetricFamily(name, text, float(metrics.get(key) or 0))

    def _buses(self) -> Iterator[Metric]:
        labels = ["dongle_id"]
        rate = GaugeMetricFamily("edge_agent_bus_frames_per_second", "Of the last ten seconds", labels=labels)
        silence = GaugeMetricFamily("edge_agent_bus_silent_seconds", "Since the last frame", labels=labels)
        fault = GaugeMetricFamily(
            "edge_agent_bus_fault", "1 for what is wrong", labels=["dongle_id", "fault"]
        )
        for dongle in self._status.dongles:
            rate.add_metric([dongle.dongle_id], dongle.frames_per_second)
            if dongle.seconds_since_frame is not None:
                silence.add_metric([dongle.dongle_id], dongle.seconds_since_frame)
            if dongle.fault:
                fault.add_metric([dongle.dongle_id, dongle.fault], 1)
        yield from (rate, silence, fault)

    def _relays(self) -> Iterator[Metric]:
        labels = ["dongle_id"]
        text = "What has become of relayed frames; `reason` of those that were not sent"
        frames = CounterMetricFamily("edge_agent_relay_frames", text, labels=["dongle_id", "fate", "reason"])
        connected = GaugeMetricFamily("edge_agent_relay_connected", "1 where frames can come", labels=labels)
        text = "Age at the echo in the last second, where any was sent"
        age = GaugeMetricFamily("edge_agent_relay_age_seconds", text, labels=["dongle_id", "quantile"])
        for one in self._status.relays:
            for fate in ("sent", "accepted", "in_doubt"):
                frames.add_metric([one.dongle_id, fate, ""], getattr(one.totals, fate))
            for reason, count in one.totals.not_sent.items():
                frames.add_metric([one.dongle_id, "not_sent", reason], count)
            connected.add_metric([one.dongle_id], float(one.connected))
            for quantile, latency_ms in zip(("0.5", "0.99"), one.latency_ms or (), strict=False):
                age.add_metric([one.dongle_id, quantile], latency_ms / 1000)
        yield from (frames, connected, age, self._relay_hops())

    def _relay_hops(self) -> Metric:
        text = "How long relayed frames were on each hop, and in all (echo)"
        family = HistogramMetricFamily("edge_agent_relay_hop_seconds", text, labels=["dongle_id", "hop"])
        for one in self._status.relays:
            for hop, histogram in one.hops.items():
                buckets = list(_cumulative(histogram))
                family.add_metric([one.dongle_id, hop], buckets, histogram.sum_ms / 1000)
        return family

    def _books(self, unit: Literal["frames", "values"]) -> Iterator[Metric]:
        taken_text = "Read from the bus" if unit == "frames" else "Decoded to be sent"
        taken = CounterMetricFamily(f"edge_agent_{unit}_taken", taken_text, labels=["dongle_id"])
        text = "What became of them, by the hop where it did"
        done = CounterMetricFamily(f"edge_agent_{unit}", text, labels=["dongle_id", "hop"])
        text = "Lost for certain, wherever"
        lost = CounterMetricFamily(f"edge_agent_{unit}_lost", text, labels=["dongle_id"])
        text = "Times that some were lost and nobody knows how many"
        uncounted = CounterMetricFamily(f"edge_agent_{unit}_losses_uncounted", text, labels=["dongle_id"])
        waiting = GaugeMetricFamily(f"edge_agent_{unit}_waiting", "On their way", labels=["dongle_id"])
        for dongle in self._status.dongles:
            books: Books | None = getattr(dongle, unit)
            if books is None:
                continue
            taken.add_metric([dongle.dongle_id], books.taken)
            lost.add_metric([dongle.dongle_id], books.lost)
            uncounted.add_metric([dongle.dongle_id], books.uncounted_losses)
            waiting.add_metric([dongle.dongle_id], books.hops.get("waiting", 0))
            for hop in _HOPS[unit]:
                if hop.fate != "waiting":
                    done.add_metric([dongle.dongle_id, hop.name], books.hops.get(hop.name, 0))
        yield from (taken, done, lost, uncounted, waiting)


def _cumulative(histogram: Histogram) -> Iterator[tuple[str, float]]:
    bounds = [*(str(bound_ms / 1000) for bound_ms in BOUNDS_MS), "+Inf"]
    yield from zip(bounds, accumulate(histogram.counts), strict=True)
