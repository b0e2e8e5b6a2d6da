"""`make demo`, in directories of its own and at a port of its own."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.helpers.agents import agent_environment
from tests.helpers.processes import Argument, Process

STARTED_SECONDS: Final = 90.0
_SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"


@contextlib.contextmanager
def running_demo(
    directory: Path, port: int = 0, host: str = "127.0.0.1", data: str = "data"
) -> Iterator[Process]:
    """The demo, with its files in `data` of a directory, which is its user's; ended by Ctrl-C at the end."""
    with Process(
        demo_command(directory / data), environment=demo_environment(directory, port, host)
    ) as process:
        try:
            yield process
        finally:
            if process.is_running:
                process.signal(signal.SIGINT)
                process.wait()


def demo_command(data: Path) -> list[Argument]:
    """`make demo` in this directory."""
    return [sys.executable, _SCRIPT, data]


def demo_environment(directory: Path, port: int | str = 0, host: str = "127.0.0.1") -> dict[str, str]:
    """Of a user whose home is this directory."""
    return agent_environment(directory) | {"HOST": host, "PORT": str(port)}


def sign_in_link(demo: Process) -> str:
    """The link that it prints once the van is on the road."""
    return demo.wait_for_line(r" +(http\S+/#link=\S+)", STARTED_SECONDS)[1]
