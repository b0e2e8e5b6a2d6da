"""What /metrics tells: counters that ingest and fan-out increment, and gauges read when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST


class RelayMetrics:
    """What is handed to gateways for their buses, and how long it took up to there."""

    _BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 3, 10)

    def __init__(self, registry: CollectorRegistry) -> None:
        self._handed = Counter(
            "stream_server_relay_handed_frames",
            "Frames handed to gateways for their buses",
            registry=registry,
        )
        self._counted = Counter(
            "stream_server_relay_counted_frames",
            "Frames that were not handed but counted, by reason",
            ("reason",),
            registry=registry,
        )
        self._age_seconds = Histogram(
            "stream_server_relay_age_seconds",
            "Age of fresh packets when they are handed to a gateway: all hops up to here",
            buckets=self._BUCKETS,
            registry=registry,
        )
        self._hop_seconds = Histogram(
            "stream_server_relay_hop_seconds",
            "How long fresh packets were on each hop up to a gateway",
            ("hop",),
            buckets=self._BUCKETS,
            registry=registry,
        )

    def came(self, source_ns: int, uplink_ns: int) -> None:
        """A fresh packet, so long after it was on the bus of its source: at its gateway, and on its way."""
        self._hop_seconds.labels("source").observe(source_ns / 1e9)
        self._hop_seconds.labels("uplink").observe(uplink_ns / 1e9)

    def handed(self, frames: int, age_ns: int | None, dwell_ns: int | None) -> None:
        """A packet; how old it is and how long it was here, None where that says nothing of the way."""
        self._handed.inc(frames)
        if age_ns is not None:
            self._age_seconds.observe(age_ns / 1e9)
        if dwell_ns is not None:
            self._hop_seconds.labels("server").observe(dwell_ns / 1e9)

    def counted(self, frames: int, reason: str) -> None:
        """Frames of which only the number is handed."""
        self._counted.labels(reason).inc(frames)


class Metrics:
    """All instruments of one server, in a registry of its own so that two servers fit in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.packets_received = self._counter("packets_received", "Packets taken off data connections")
        self.frames_received = self._counter("frames_received", "Frames in those packets")
        self.values_received = self._counter("values_received", "Signal values in those packets")
        self.packets_recorded = self._counter("packets_recorded", "Packets stored in the recording")
        self.frames_recorded = self._counter("frames_recorded", "Frames stored in the recording")
        self.values_recorded = self._counter("values_recorded", "Signal values stored in the recording")
        self.packets_duplicate = self._counter("packets_duplicate", "Packets that were recorded already")
        self.gaps = self._counter("gaps", "Gap records stored")
        self.retention_packets = self._counter("retention_deleted_packets", "Packets deleted by retention")
        self.retention_frames = self._counter("retention_deleted_frames", "Frames deleted by retention")
        self.protocol_errors = self._counter(
            "protocol_errors", "Messages refused, by endpoint", ("endpoint",)
        )
        self.authentication_failures = self._counter("authentication_failures", "Credentials refused")
        self.rate_limited = self._counter("rate_limited", "Requests answered with 429")
        self.connections_ended = self._counter(
            "connections_ended", "Connections and bodies that were refused or ended, by reason", ("reason",)
        )
        self.relay = RelayMetrics(self.registry)
        self.commit_seconds = Histogram(
            "stream_server_database_commit_seconds",
            "Duration of one group commit",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=self.registry,
        )
        self.commit_jobs = self._counter("database_jobs", "Write jobs in those commits")

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"stream_server_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge whose value is `read()` at the time of asking."""
        Gauge(f"stream_server_{name}", text, registry=self.registry).set_function(read)

    def gauges(self, name: str, text: str, label: str, reads: Mapping[str, Callable[[], float]]) -> None:
        """A gauge for each value of `label`."""
        gauge = Gauge(f"stream_server_{name}", text, (label,), registry=self.registry)
        for value, read in reads.items():
            gauge.labels(value).set_function(read)

    def committed(self, seconds: float, jobs: int) -> None:
        """A group of `jobs` writes took `seconds` to commit. Any thread."""
        self.commit_seconds.observe(seconds)
        self.commit_jobs.inc(jobs)

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)
