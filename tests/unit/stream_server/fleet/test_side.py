"""What a stored dongle is to a relay."""

from __future__ import annotations

from types import SimpleNamespace

from can_stream.protocol.control import RelaySide
from stream_server.fleet.side import Facts, Side, side_of


def test_a_dongle_whose_gateway_says_nothing_allows_nothing() -> None:
    row = SimpleNamespace(
        dongle_id="can0", agent_id="van7", interface="slcan", device_id=None, bitrate=None, fd=False,
        allows=None, knows_relay=None,
    )  # fmt: skip
    facts = Facts("van7", "slcan", None, None, fd=False)
    assert side_of(row) == Side("can0", facts, knows_relay=False, allows=RelaySide())
    row.allows = '{"transmit":true,"confirms":"bus"}'
    assert side_of(row).allows == RelaySide(transmit=True, confirms="bus")
