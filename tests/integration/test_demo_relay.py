"""`make demo-relay`: the lines that it prints do what it says, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.demo import demo_environment
from tests.helpers.processes import STOP_SECONDS, Argument, Process

pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")

STARTED_SECONDS: Final = 240.0
_SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "demo_relay.py"


def line(text: str, command: str, number: int) -> list[str]:
    """The printed line of that command: 0 for the first that is printed."""
    return shlex.split(re.findall(rf"^ +(\S*{command} .*)$", text, re.MULTILINE)[number])


def test_what_is_sent_on_one_bus_is_on_the_other_and_all_ends_with_ctrl_c(tmp_path: Path) -> None:
    environment = demo_environment(tmp_path)
    command: list[Argument] = [sys.executable, _SCRIPT, tmp_path / "data"]
    with Process(command, environment=environment) as demo, ExitStack() as stack:
        demo.wait_for_line(r".*Ctrl-C ends it all\.", STARTED_SECONDS)
        assert "Dry run:" in demo.output
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        parts = [os.pidfd_open(int(child)) for child in children]
        assert len(parts) == 3
        for part in parts:
            stack.callback(os.close, part)
        for way in (0, 1):
            with Process(line(demo.output, "can_logger", way), environment=environment) as watching:
                watching.wait_for_line("Can Logger.*", STARTED_SECONDS)
                subprocess.run(line(demo.output, "can_player", way), check=True, capture_output=True)
                watching.wait_for_line(r".*ID: +123 .*[dD][eE] [aA][dD] [bB][eE] [eE][fF].*", STARTED_SECONDS)
        demo.signal(signal.SIGINT)
        assert demo.wait() == 0
        assert demo.errors == ""
        for part in parts:
            assert select.select([part], [], [], STOP_SECONDS)[0], "a part runs on"
