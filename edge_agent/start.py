"""What `edge-agent` begins with."""

from __future__ import annotations

from can_stream.command_line.quiet_start import end_at_ctrl_c


def main() -> None:
    """Loads the program and runs it."""
    end_at_ctrl_c()
    from edge_agent.cli.main import main as program  # noqa: PLC0415 - loading it takes the time that is meant

    program()
