"""Which dongles get a sink, and how their buses are seen by it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from can_stream.databases.configured import ConfiguredDatabases
from can_stream.frames.batches import batch_of
from can_stream.protocol.control import RelaySide
from can_stream.signals.model import SignalModel
from edge_agent.config.gates import GateEntry
from edge_agent.config.sections import AgentConfig, AgentSection, ServerSection
from edge_agent.config.transmit import RelaySection
from edge_agent.dongles.relayed import DonglePort, relay_of
from edge_agent.state import State, StatusCode
from tests.helpers.agent_parts import AgentParts, StandingClock, slcan_section
from tests.helpers.can_links import controller_link
from tests.helpers.signal_tables import table_of

PERMITTED = RelaySection(transmit="all", max_age_seconds=2.0)


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))


def parts_with(relay: RelaySection = PERMITTED) -> tuple[AgentConfig, AgentParts]:
    talker = replace(slcan_section("/dev/none", "talker", mode="normal"), bitrate=250_000)
    sections = [talker, slcan_section("/dev/other", "listener", mode="listen_only")]
    config = AgentConfig(
        server=ServerSection("http://localhost:1"), dongles=sections, agent=AgentSection("van7"), relay=relay
    )
    return config, AgentParts(sections)


def test_only_what_may_transmit_has_a_sink_and_the_server_is_told() -> None:
    config, parts = parts_with()
    relay = relay_of(config, parts.dongles, parts.uplink, "0" * 16, StandingClock(), lambda: None)
    assert relay is not None
    assert [one.dongle_id for one in relay.figures()] == ["talker"]
    talker, listener = parts.dongles
    assert talker.info.relay == RelaySide(
        source=True, transmit=True, confirms="queue", max_age_seconds=2.0
    ), "not open yet: the least that any confirms, so that what waits is not counted away"
    assert listener.info.relay is None
    (Path(relay.figures()[0].stop_file).parent).mkdir()
    Path(relay.figures()[0].stop_file).touch()
    again = relay_of(config, parts.dongles, parts.uplink, "0" * 16, StandingClock(), lambda: None)
    assert again is not None
    assert talker.info.relay is not None
    assert "edge-agent relay stop" in talker.info.relay.stopped


def test_without_a_place_for_records_nothing_is_relayed_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("no directory")
    config, parts = parts_with()
    with caplog.at_level(logging.ERROR):
        assert relay_of(config, parts.dongles, parts.uplink, "0" * 16, StandingClock(), lambda: None) is None
    assert "nothing is relayed to this gateway" in caplog.text
    assert parts.dongles[0].info.relay is None


def test_a_bus_is_up_while_it_is_read_and_has_the_rate_that_the_kernel_says() -> None:
    _, parts = parts_with()
    dongle = parts.dongles[0]
    port = DonglePort(dongle)
    assert port.writer is None
    assert not port.is_up
    for code, is_up in ((StatusCode.OK, True), (StatusCode.DEGRADED, True), (StatusCode.FAILED, False)):
        dongle.bus.state = State(code, "")
        assert port.is_up is is_up
    assert (port.rates.bit_rate, port.rates.data_bit_rate) == (250_000, 250_000)
    dongle.link = controller_link(bitrate=500_000, data_bitrate=2_000_000)
    assert (port.rates.bit_rate, port.rates.data_bit_rate) == (500_000, 2_000_000)


def test_a_gate_that_nobody_can_know_is_told(tmp_path: Path) -> None:
    config, parts = parts_with(replace(PERMITTED, gate=[GateEntry("Abs.Speed", max=0)]))
    relay = relay_of(config, parts.dongles, parts.uplink, "0" * 16, StandingClock(), lambda: None)
    assert relay is not None
    assert relay.figures()[0].gate == "Abs.Speed of talker is not known: its databases are not loaded"
    config, parts = parts_with(replace(PERMITTED, gate=[GateEntry("Abs.Speed", "listener", max=0)]))
    relay = relay_of(config, parts.dongles, parts.uplink, "0" * 16, StandingClock(), lambda: None)
    assert relay is not None
    assert "Abs.Speed of listener" in relay.figures()[0].gate
    table = table_of({"Abs": [SignalModel("Speed", 0, 16)]})
    parts.dongles[1].databases = ConfiguredDatabases(table, (), (), 0)
    relay.hear("listener", batch_of([(0, 0x100, 0, 8, bytes(8))]))
    assert "nothing newer" in relay.figures()[0].gate  # the reader knows of no time


def test_a_dongle_that_no_entry_is_for_has_no_sink() -> None:
    config, parts = parts_with(RelaySection("all", dongles=["talker"], max_age_seconds=1.0))
    relay = relay_of(config, parts.dongles, parts.uplink, "0" * 16, StandingClock(), lambda: None)
    assert relay is not None
    assert [one.dongle_id for one in relay.figures()] == ["talker"]
    config, parts = parts_with(RelaySection("all", dongles=["listener"], max_age_seconds=1.0))
    relay = relay_of(config, parts.dongles, parts.uplink, "0" * 16, StandingClock(), lambda: None)
    assert relay is not None
    assert relay.figures() == []
