"""Gates whose signal the databases do not have are said, with what may be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from can_stream.databases.configured import load_configured
from edge_agent.config.dongle import DongleSection
from edge_agent.config.gates import GateEntry
from edge_agent.config.transmit import RelaySection
from edge_agent.transmit.gate_names import unknown_signals

DATABASE = str(Path(__file__).parents[4] / "dbc" / "demo-vehicle.dbc")
DONGLES = [DongleSection("can0", id="van7-can0", mode="normal", databases=[DATABASE])]


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        ("Engine.VehicleSpeed", []),
        ("Engine.VehicleSped", ["do you mean Engine.VehicleSpeed"]),
        ("X.Y", ["has"]),
    ],
)
def test_a_signal_is_in_the_databases_of_its_bus(signal: str, said: list[str]) -> None:
    relay = RelaySection("all", max_age_seconds=2.0, gate=[GateEntry(signal, max=0)])
    table = load_configured([DATABASE], []).table
    found = list(unknown_signals(relay, DONGLES, {"van7-can0": table}))
    assert [one.key for one in found] == ["relay.gate[0].signal"] * len(said)
    assert all(words in one.reason for words, one in zip(said, found, strict=True))
    assert list(unknown_signals(relay, DONGLES, {})) == [], "nobody has loaded them"
    assert len(list(unknown_signals(relay, DONGLES, {"van7-can0": None}))) == 1
