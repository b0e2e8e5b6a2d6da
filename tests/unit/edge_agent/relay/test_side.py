"""What a gateway's file lets a relay do with its dongles."""

from __future__ import annotations

from typing import Any

import pytest

from can_stream.protocol.control import RelaySide
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.config.sections import AgentConfig, ServerSection, UplinkSection
from edge_agent.config.transmit import RelaySection
from edge_agent.relay.side import may_be_source, relay_side

LISTENER = DongleSection("can0", id="van7-can0")
SENDER = DongleSection("can0", id="van7-can0", mode="normal")
LOG = DongleSection("drive.log", id="van7-log", interface="log")


def config_of(relay: RelaySection | None = None, **more: Any) -> AgentConfig:
    return AgentConfig(ServerSection("http://127.0.0.1"), [LISTENER], relay=relay or RelaySection(), **more)


@pytest.mark.parametrize(
    ("dongle", "max_bytes_per_day", "may"),
    [
        (LISTENER, 0, True),
        (SENDER, 0, True),
        (LISTENER, 1_000_000, False),
        (DongleSection("can0", frames="off"), 0, False),
        (DongleSection("can0", frame_filters=[FrameFilter(0x7DF)]), 0, False),
        (LOG, 0, True),
    ],
)
def test_frames_are_uploaded_in_full_only_where_they_are_anyway_or_somebody_said_so(
    dongle: DongleSection, max_bytes_per_day: int, may: bool
) -> None:
    uplink = UplinkSection(max_bytes_per_day=max_bytes_per_day)
    assert may_be_source(config_of(uplink=uplink), dongle) is may
    said = RelaySection(source=True)
    assert may_be_source(config_of(said, uplink=uplink), dongle)
    assert not may_be_source(config_of(RelaySection(source=False), uplink=uplink), dongle)


def test_nothing_may_be_sent_by_default() -> None:
    assert relay_side(config_of(), SENDER) == RelaySide(source=True)


def test_nothing_may_be_sent_where_there_is_no_sink() -> None:
    section = RelaySection("all", max_age_seconds=2.0)
    assert not relay_side(config_of(section), SENDER).transmit
    assert relay_side(config_of(section), SENDER, transmit=True).transmit


def test_the_limits_of_the_file_are_said() -> None:
    section = RelaySection(
        "all",
        max_age_seconds=0.5,
        max_bus_load=0.1,
        max_live_bus_load=0.2,
        source=False,
        dry_run=True,
        from_logs=True,
    )
    side = relay_side(config_of(section), SENDER, transmit=True, confirms="bus", stopped="by hand")
    assert side == RelaySide(False, True, "bus", "probe", 0.5, 0.1, 0.2, True, True, "by hand")
