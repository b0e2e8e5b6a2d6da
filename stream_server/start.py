"""What `stream-server` begins with."""

from __future__ import annotations

import os

from can_stream.command_line.quiet_start import end_at_ctrl_c
from can_stream.private_files import PRIVATE_UMASK


def main() -> None:
    """Loads the program and runs it."""
    end_at_ctrl_c()
    os.umask(PRIVATE_UMASK)  # SQLite's own files beside ours, too
    from stream_server.main import main as program  # noqa: PLC0415 - loading it takes the time that is meant

    program()
