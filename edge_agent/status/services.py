"""What the agent says of its services: itself, its uplink and spool, each dongle's bus and its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec.structs import asdict

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import ServiceStatus
from can_stream.text.timestamps import format_timestamp
from can_stream.version import VERSION
from edge_agent.budget.budget import Budget
from edge_agent.config.sections import ServerSection
from edge_agent.dongles.dongle import Dongle
from edge_agent.relay.figures import RelayFigures
from edge_agent.spool.spool import Spool
from edge_agent.state import StatusCode
from edge_agent.status.accounting import FRAME_HOPS, VALUE_HOPS, Ledger
from edge_agent.status.relay_text import relay_sentence, totals_sentence
from edge_agent.uplink.uplink import Uplink

# An ack takes as long as a packet and a commit: on the slowest of links a few seconds.
STALLED_SECONDS: Final = 10.0


class ServiceMaker:
    """Makes services of one agent as they are at `now_ns`."""

    def __init__(self, agent_id: str, now_ns: int) -> None:
        self._agent_id = agent_id
        self._last_seen = format_timestamp(now_ns // 1000)

    def make(
        self, kind: str, label: str, code: StatusCode, message: str, metrics: Mapping[str, Any], of: str = ""
    ) -> ServiceStatus:
        """A service of `kind`, `of` a dongle where it is one's."""
        name = f"{kind}.{of}" if of else kind
        return ServiceStatus(
            service_id=f"{self._agent_id}/{name}",
            agent_service_id=name,
            label=label,
            service_type=kind,
            status_code=code,
            status=code.name,
            message=message,
            last_seen=self._last_seen,
            metrics=dict(metrics),
        )


def agent_service(maker: ServiceMaker, uptime_seconds: float, budget: Budget | None) -> ServiceStatus:
    """The agent itself: it can say so, so it runs; whole, or as far as its byte budget goes."""
    code, message = StatusCode.OK, f"version {VERSION}"
    metrics: dict[str, float] = {"uptime_seconds": round(uptime_seconds, 1)}
    if budget is not None:
        metrics |= {"bytes_today": budget.bytes_today, "max_bytes_per_day": budget.max_bytes}
        metrics["budget_stage"] = int(budget.stage)
        message = f"{message}; {budget.message}"
        code = StatusCode.DEGRADED if budget.stage else code
    return maker.make("agent", "Edge agent", code, message, metrics)


def bus_service(maker: ServiceMaker, dongle: Dongle, frames_per_second: float) -> ServiceStatus:
    """One dongle's bus: how it stands, and what became of its frames."""
    state, ledger = dongle.bus.state, frames_ledger(dongle)
    metrics = {
        **dongle.bus.metrics,
        "frames_read": ledger.taken,
        **ledger.metrics(),
        "frames_per_second": round(frames_per_second, 1),
        **({"malformed_example": example} if (example := dongle.malformed_example) else {}),
    }
    label = f"Bus {dongle.info.channel}"
    return maker.make("bus", label, state.code, state.message, metrics, of=dongle.dongle_id)


def spool_service(maker: ServiceMaker, spool: Spool) -> ServiceStatus:
    """The disk queue: what waits there, and what it had to let go."""
    oldest = spool.oldest_age_seconds
    metrics = {
        "frames": spool.frames,
        "bytes": spool.file_bytes,
        "oldest_age_seconds": 0.0 if oldest is None else round(oldest, 1),
        "frames_trimmed": spool.trimmed_frames,
        "bytes_written": spool.written_bytes,
        "failures": spool.failures,
    }
    return maker.make("spool", "Spool", spool.state.code, spool.state.message, metrics)


def decoder_service(maker: ServiceMaker, dongle: Dongle) -> ServiceStatus:
    """What one dongle's databases are, and what was made of its frames; of a dongle with a decoder."""
    decoder = dongle.pipeline.decoder
    assert decoder is not None
    databases, ledger = dongle.databases, values_ledger(dongle)
    assert ledger is not None
    code = StatusCode.STARTING
    if databases is not None:
        code = StatusCode.FAILED if databases.table is None else StatusCode.OK
        code = StatusCode.DEGRADED if databases.table and databases.problems else code
    message = "loading databases" if databases is None else databases.message
    metrics = {**asdict(decoder.counts), **ledger.metrics()}
    return maker.make(
        "decoder", f"Decoder {dongle.info.channel}", code, message, metrics, of=dongle.dongle_id
    )


def relay_service(maker: ServiceMaker, one: RelayFigures) -> ServiceStatus:
    """What groups put on the bus of one dongle, and why they do not."""
    code = StatusCode.OK if one.connected else StatusCode.DEGRADED
    code = StatusCode.STOPPED if one.stopped else code
    message = f"{relay_sentence(one)}; {totals_sentence(one.totals)}"
    metrics = {
        "connected": one.connected,
        "source_dongle_id": one.source_dongle_id,
        "waits_for": one.waits_for,
        "frames_sent": one.totals.sent,
        "frames_accepted": one.totals.accepted,
        "frames_in_doubt": one.totals.in_doubt,
        "frames_not_sent": dict(one.totals.not_sent),
        "latency_ms": one.latency_ms,
        "malformed": one.malformed,
    }
    return maker.make("relay", f"Relay to {one.dongle_id}", code, message, metrics, of=one.dongle_id)


def uplink_service(
    maker: ServiceMaker, uplink: Uplink, server: ServerSection, now_seconds: float, now_ns: int
) -> ServiceStatus:
    """The connection to the server: how it stands, what it has moved and what waits for it."""
    state, counts = uplink.state, uplink.counts
    code = StatusCode.FAILED if state.failed else StatusCode.OK if state.connected else StatusCode.STARTING
    message, fault, url = state.message, state.fault, server.url
    if state.connected and (said := server.clear_text) is not None:
        message = f"{message}; {said}"
        if server.is_in_doubt:
            code, fault = StatusCode.DEGRADED, "clear_text"
    stalled_seconds = uplink.stalled_seconds(now_seconds)
    if stalled_seconds >= STALLED_SECONDS:
        code, fault = StatusCode.DEGRADED, "stalled"
        message = (
            f"connected to {url}, but for {stalled_seconds:.0f} s nothing has been acknowledged: see whether "
            "the server stores (its /readyz and log), and whether the link is too slow"
        )
    up_today, down_today = counts.today(now_ns)
    since_ns = counts.connected_since_ns
    oldest = [made for lane in uplink.lanes if (made := lane.window.oldest_made_at_seconds) is not None]
    metrics = {
        "server_host": urlsplit(url).hostname,
        "connected_since": None if since_ns is None else format_timestamp(since_ns // 1000),
        "refused": state.refused,
        "fault": fault,
        "reconnects": max(0, counts.connections - 1),
        "refusals": counts.refusals,
        "bytes_up": counts.bytes_up,
        "bytes_down": counts.bytes_down,
        "bytes_up_today": up_today,
        "bytes_down_today": down_today,
        "packets_unacknowledged": sum(lane.window.held_packets for lane in uplink.lanes),
        "oldest_unacknowledged_seconds": round(now_seconds - min(oldest), 3) if oldest else None,
        "messages_dropped": counts.messages_dropped,
    }
    return maker.make("uplink", "Uplink", code, message, metrics)


def frames_ledger(dongle: Dongle) -> Ledger:
    """What became of the frames of a dongle's bus, all at one moment."""
    read, pipeline = dongle.reader.counts, dongle.pipeline
    lane = pipeline.frames
    counts = {
        **{f"lost_{place}": frames for place, frames in read.lost.items()},
        "malformed": dongle.reader.malformed,
        "left_out": pipeline.left_out_frames,
        "over_budget": pipeline.gates[0].left_out,
        **_at_server(lane),
        "waiting": read.waiting + pipeline.gathered_frames + lane.waiting_frames,
    }
    return Ledger(
        "frames", FRAME_HOPS, read.read, counts, pipeline.uncounted_losses, lane.difference.unexplained
    )


def values_ledger(dongle: Dongle) -> Ledger | None:
    """What became of the values of a dongle's signals lane; None where it has none."""
    decoder = dongle.pipeline.decoder
    if decoder is None:
        return None
    lane = decoder.lane
    counts = {
        "over_budget": decoder.gate.left_out,
        **_at_server(lane),
        "waiting": lane.waiting_frames,
    }
    taken, in_doubt = decoder.counts.values_sent, lane.difference.unexplained
    return Ledger("values", VALUE_HOPS, taken, counts, in_doubt=in_doubt)


def _at_server(lane: LaneSender) -> dict[str, int]:
    """What was let go, and what is in the recording: by the server's books where they are known."""
    trimmed, difference = lane.window.trimmed_frames, lane.difference
    found = min(difference.found, trimmed)
    acknowledged = lane.acknowledged_frames + found
    lost = min(difference.lost, acknowledged)
    return {"trimmed": trimmed - found, "lost_server": lost, "acknowledged": acknowledged - lost}
