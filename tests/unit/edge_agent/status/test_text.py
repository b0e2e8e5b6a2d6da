"""A status as people and Prometheus read it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from can_stream.protocol.control import ServiceStatus
from can_stream.protocol.relay_control import Totals
from edge_agent.relay.account.hop_ages import Histogram
from edge_agent.relay.figures import RelayFigures
from edge_agent.status.accounting import FRAME_HOPS, VALUE_HOPS, Books, Ledger
from edge_agent.status.document import AgentStatus, DongleStatus, decode_status, encode_status
from edge_agent.status.metrics import exposition
from edge_agent.status.text import duration, is_well, size, status_lines, verdict

DOCS = Path(__file__).resolve().parents[4] / "docs" / "edge-agent.md"


def books(taken: int, **counts: int) -> Books:
    return Ledger("frames", FRAME_HOPS, taken, counts).books()


UNREAD = "3 could not be read and may have been frames"
VALUES = Ledger("values", VALUE_HOPS, 7, {"acknowledged": 7}).books()
BUS = DongleStatus(
    "van7-can0", "socketcan", "can0", "", 812.44, 0.1,
    books(1_234_267, acknowledged=1_234_250, waiting=5, lost_queue=12, lost_kernel=300, malformed=3), VALUES,
)  # fmt: skip
UPLINK = ServiceStatus(
    "van7/uplink", "uplink", "Uplink", "uplink", 0, "OK", "streaming to https://stream.example.com", "",
    {"bytes_up_today": 12_345_678, "bytes_down_today": 999, "reconnects": 2, "packets_unacknowledged": 3,
     "oldest_unacknowledged_seconds": 75.0, "bytes_up": 20_000_000, "refusals": 1},
)  # fmt: skip
AGENT = ServiceStatus("van7/agent", "agent", "Edge agent", "agent", 0, "OK", "version 0.1.0", "")
RELAY = RelayFigures(
    "van7-can0", connected=True, message="connected", stop_file="/s/relay-stopped-van7-can0",
    totals=Totals(sent=7, not_sent={"too_old": 2}), latency_ms=(3.0, 5.0),
    hops={"queue": Histogram([0, 2, 0, 1, *[0] * 7, 1], 10_018.0)},
)  # fmt: skip
STATUS = AgentStatus(
    "van7", "0.1.0", "00" * 8, 42, "2026-01-01T00:00:00Z", 93_784.0, True, "https://stream.example.com",
    [AGENT, UPLINK], [BUS],
)  # fmt: skip


def degraded(code: int, name: str) -> ServiceStatus:
    return replace(AGENT, agent_service_id=name, status_code=code, status="X")


@pytest.mark.parametrize(
    ("services", "expected", "well"),
    [
        ([AGENT], f"OK: agent van7; 312 lost of 1 234 567 frames; {UNREAD}", True),
        ([AGENT, degraded(3, "uplink")], "STARTING: agent van7: uplink", True),
        ([degraded(3, "uplink"), degraded(1, "bus.a")], "DEGRADED: agent van7: bus.a", False),
        ([degraded(1, "bus.a"), degraded(2, "bus.b")], "FAILED: agent van7: bus.a, bus.b", False),
        ([degraded(4, "bus.log")], f"OK: agent van7; 312 lost of 1 234 567 frames; {UNREAD}", True),
    ],
)
def test_the_first_line_is_the_verdict(services: list[ServiceStatus], expected: str, well: bool) -> None:
    status = replace(STATUS, services=services)
    assert verdict(status) == next(status_lines(status)) == expected
    assert is_well(status) is well


def test_every_service_and_dongle_has_its_lines() -> None:
    lines = list(status_lines(STATUS))
    assert "agent   OK        version 0.1.0; process 42, running for 1 d 2 h" in lines
    assert (
        "uplink  OK        streaming to https://stream.example.com; today 12.3 MB up, 999 B down; "
        "2 reconnects; 3 packets wait, the oldest for 1 min"
    ) in lines
    assert (
        "van7-can0 (socketcan can0): 812.4 frames/s; 312 lost of 1 234 567 frames: "
        f"300 in the kernel's receive buffer, 12 in the agent's queue; {UNREAD}"
    ) in lines
    assert "  5 frames wait for the server" in lines
    assert "  values: 0 lost of 7 values" in lines


def test_a_silent_bus_and_a_clock_that_is_wrong_are_seen() -> None:
    silent = replace(BUS, frames_per_second=0.0, seconds_since_frame=125.0)
    fresh = replace(BUS, frames_per_second=0.0, seconds_since_frame=None)
    text = "\n".join(status_lines(replace(STATUS, dongles=[silent, fresh], clock_synchronised=False)))
    assert "0.0 frames/s, silent for 2 min;" in text
    assert "0.0 frames/s, no frame yet;" in text
    assert "its clock is not synchronised" in text


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    evil = replace(AGENT, message="\x1b[2J\x1b[H all is well \r\n")
    assert "\x1b" not in "".join(status_lines(replace(STATUS, services=[evil])))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (7_500, "2 h 5 min"),
        (86_400, "1 d 0 h"),
        (93_784, "1 d 2 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2e7, "20.0 MB"), (3e12, "3000.0 GB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


def test_the_document_survives_its_encoding() -> None:
    assert decode_status(encode_status(STATUS)) == STATUS


def test_prometheus_reads_the_metrics_and_every_one_is_documented() -> None:
    families = list(
        text_string_to_metric_families(
            exposition(replace(STATUS, dongles=[replace(BUS, fault="down")], relays=[RELAY]))
        )
    )
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["edge_agent_frames_total", "lost_kernel", "van7-can0"] == 300
    assert samples["edge_agent_frames_lost_total", "van7-can0"] == 312
    assert samples["edge_agent_frames_waiting", "van7-can0"] == 5
    assert samples["edge_agent_values_total", "acknowledged", "van7-can0"] == 7
    assert samples["edge_agent_uplink_connected",] == 1
    assert samples["edge_agent_uplink_sent_bytes_total",] == 20_000_000
    assert samples["edge_agent_bus_fault", "down", "van7-can0"] == 1
    assert samples["edge_agent_relay_frames_total", "", "sent", "van7-can0"] == 7
    assert samples["edge_agent_relay_frames_total", "not_sent", "too_old", "van7-can0"] == 2
    assert samples["edge_agent_relay_age_seconds", "0.99", "van7-can0"] == 0.005
    assert samples["edge_agent_relay_hop_seconds_bucket", "0.01", "queue", "van7-can0"] == 3
    assert samples["edge_agent_relay_hop_seconds_bucket", "+Inf", "queue", "van7-can0"] == 4
    assert samples["edge_agent_relay_hop_seconds_sum", "queue", "van7-can0"] == 10.018
    documented = set(re.findall(r"`(edge_agent_[a-z_]+)", DOCS.read_text()))
    assert documented == {name for name, *_ in samples}


def test_a_status_without_dongles_or_uplink_has_metrics_too() -> None:
    assert "edge_agent_uplink_connected 0.0" in exposition(replace(STATUS, services=[], dongles=[]))
