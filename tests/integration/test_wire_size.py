"""How many bytes a frame costs on the socket, everything included: upgrades, headers, greetings, control."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.agents import replay_through
from tests.helpers.metered_proxy import MeteredProxy
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary
from tests.helpers.shared_data import ICSIM, KONA


@pytest.mark.recorded
@pytest.mark.parametrize(("path", "most"), [(KONA, 2.3), (ICSIM, 2.7)], ids=["kona", "icsim"])
def test_a_frame_costs_few_bytes_upstream(tmp_path: Path, path: Path, most: float) -> None:
    with StreamServer(tmp_path / "server") as server, MeteredProxy(server.port) as proxy:
        agent = EnrolledAgent(server, "van7", tmp_path)
        options = ["--speed", "max", "--flush-seconds", "0.25"]
        with replay_through(agent, proxy.url, path, options=options) as process:
            summary = replay_summary(process)
        assert summary.lost == 0
        sent, received = proxy.upstream_bytes / summary.frames, proxy.downstream_bytes / summary.frames
        assert received < sent
        assert sent <= most
