"""Which interfaces the agent's file lets its helper touch."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.cli.main import main
from edge_agent.cli.set_up.can_helper import configured_channels

FILE = """
[agent]
id = "van7"
[server]
url = "http://127.0.0.1:8080"
[relay]
transmit = "{transmit}"
dongles = ["van7-can0"]
max_age_seconds = 2
[[dongles]]
channel = "can0"
mode = "normal"
bitrate = 500000
[[dongles]]
channel = "can2"
mode = "normal"
bitrate = 500000
[[dongles]]
channel = "can1"
bitrate = 500000
[[dongles]]
channel = "/dev/ttyACM0"
interface = "slcan"
mode = "normal"
bitrate = 500000
"""


@pytest.mark.parametrize(("transmit", "channels"), [("all", {"can0"}), ("off", set())])
def test_those_of_the_kernel_on_which_groups_may_put_frames(
    tmp_path: Path, transmit: str, channels: set[str]
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(FILE.format(transmit=transmit))
    assert configured_channels(path) == channels


def test_a_person_is_told_how_it_is_started(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["can-helper", "--config", str(tmp_path / "agent.toml")])
    assert result.exit_code == 1
    assert "systemctl start edge-agent-helper.socket" in result.output
