"""In the guest of test_power_cut: a gateway that nobody hears, and one whose server is back.

    python -m tests.vm.power_cut stream BOOT    sends numbered frames for ever, to an agent without a server
    python -m tests.vm.power_cut recover        gives all that agents have left to a server

The disk that outlives the boots is /dev/ubdb. /exchange/sent.BOOT says how many frames were sent until when,
a line `SECONDS COUNT` for each beat; /exchange/recorded what the server has in the end.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final

from tests.helpers.agents import recorded_frames, recorded_lines
from tests.helpers.conditions import eventually
from tests.helpers.processes import EnrolledAgent, Process, StreamServer, installed_command, run_command
from tests.vm.can_utils import receivers

DISK: Final = Path("/mnt")
EXCHANGE: Final = Path("/exchange")
ARBITRATION_ID: Final = 0x123
PORT: Final = 8080
_FRAMES_PER_BEAT: Final = 10
_BEAT_SECONDS: Final = 0.02
_QUIET_SECONDS: Final = 3.0
_CONFIG: Final = f"""
[agent]
id = "van7"
[server]
url = "http://127.0.0.1:{PORT}"
token_file = "{DISK}/van7.token"
[[dongles]]
id = "van7-can0"
channel = "vcan0"
[spool]
directory = "{DISK}/spool"
"""


def stream(boot: int) -> None:
    """Numbered frames, until the power is cut."""
    if boot == 0:
        with _server() as server:
            EnrolledAgent(server, "van7", DISK)
        (DISK / "agent.toml").write_text(_CONFIG)
        run_command(["sync"])
    with _agent(), socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as bus:
        eventually(lambda: receivers("vcan0"), "the agent reads the bus")
        bus.bind(("vcan0",))
        count = 0
        with (EXCHANGE / f"sent.{boot}").open("w", buffering=1) as sent:
            while True:
                for _ in range(_FRAMES_PER_BEAT):
                    data = struct.pack(">HxxI", boot, count)
                    bus.send(struct.pack("=IB3x8s", ARBITRATION_ID, len(data), data))
                    count += 1
                sent.write(f"{time.monotonic()} {count}\n")
                time.sleep(_BEAT_SECONDS)


def recover() -> None:
    """Everything that is on the disk goes to the server."""
    with _server() as server, _agent():
        token = server.create_token()
        since = time.monotonic()
        seen = 0

        def quiet() -> bool:
            nonlocal since, seen
            now = recorded_frames(server, "van7-can0", token)
            if now != seen or not now:
                since, seen = time.monotonic(), now
            return time.monotonic() - since > _QUIET_SECONDS

        eventually(quiet, "the recording grows no more", 120.0)
        lines = recorded_lines(server, "van7-can0", token)
        (EXCHANGE / "recorded").write_text("".join(f"{line}\n" for line in lines))


def _server() -> StreamServer:
    server = StreamServer(DISK / "server")
    server.port = PORT
    return server


def _agent() -> Process:
    return Process([*installed_command("edge-agent"), "run", "--config", DISK / "agent.toml"])


if __name__ == "__main__":
    run_command(["mount", "/dev/ubdb", DISK])
    if sys.argv[1] == "stream":
        stream(int(sys.argv[2]))
    else:
        recover()
        run_command(["umount", DISK])
