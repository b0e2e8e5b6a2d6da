"""A dongle that plays a log is relayed only where the receiving gateway's file says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.agents import log_dongle
from tests.helpers.conditions import eventually
from tests.helpers.relayed_group import ALL, RelayedGroup

pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")

ID = 0x101


class LogGroup(RelayedGroup):
    """Side A plays a log over and over."""

    log: Path

    def dongles(self, side: str) -> list[dict[str, Any]]:
        return [dict(log_dongle(self.log, "a-bus", loop=True))] if side == "a" else super().dongles(side)


def test_a_log_goes_to_a_bus_only_where_its_gateway_takes_logs(tmp_path: Path) -> None:
    LogGroup.log = tmp_path / "drive.log"
    rows = [f"({at / 100:.6f}) can0 {ID:03X}#{at:08X}" for at in range(100)]
    LogGroup.log.write_text("\n".join(rows) + "\n")
    group = LogGroup(tmp_path, {"a": {}, "b": ALL})
    try:
        group.make()
        group.activate()
        eventually(
            lambda: "from_logs" in group.state["directions"]["a_to_b"], "the server says what is wanted"
        )
        assert group.nodes["b"].numbered(ID) == []
        group.agents["b"].close()
        group.relay = {"a": {}, "b": {**ALL, "from_logs": True}}
        group.start("b")
        eventually(lambda: len(group.nodes["b"].numbered(ID)) >= 150, "the log is played on B")
        seen = group.nodes["b"].numbered(ID)
        assert seen == [(seen[0] + at) % 100 for at in range(len(seen))]
    finally:
        group.close()
