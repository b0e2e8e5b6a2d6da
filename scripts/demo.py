"""`make demo`: a stream server and an agent that loops a demo drive, until Ctrl-C.

make demo HOST=0.0.0.0 PORT=8081     # to be looked at from other machines, at another port
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# The path above is where they are.
from scripts import demo_drive, demo_place  # noqa: E402
from scripts.demo_part import Part, end_at_signals  # noqa: E402
from scripts.demo_place import BIN, shown  # noqa: E402

DONGLE: Final = "demo-van-can0"
FRAME_SECONDS: Final = 30.0

CONFIG: Final = """\
[agent]
id = "{agent_id}"

[server]
url = "{url}"
allow_clear_text = true
token_file = "{token}"

[[dongles]]
interface = "log"
channel = "{log}"
id = "{dongle}"
databases = ["{databases}/*.dbc"]
options = {{ loop = true }}
"""


def main(data: Path) -> int:
    """Runs until Ctrl-C; exit status 1 when a part ends by itself."""
    end_at_signals()
    held = demo_place.hold(data)
    host, port = demo_place.address()
    demo_place.empty(data)
    with contextlib.ExitStack() as parts:
        _run(data, held, server_command(data, host, port), parts)
    return 1


def _run(data: Path, held: int, serve: list[object], parts: contextlib.ExitStack) -> None:
    ended = threading.Event()
    # The parts hold the directory too: after a SIGKILL the next demo must not take it from under them.
    server = Part.start(parts, serve, data / "server.log", ended, [held])
    url = server.after("listening on ").split()[0]
    link = server.after("sign in with ")
    agent = Part.start(parts, _agent_command(data, url), data / "agent.log", ended, [held])
    agent.after("streaming to ")
    header = data / "viewer.header"
    token = secret(data, "token", "create", "--role", "viewer")
    write_secret(header, f"Authorization: Bearer {token}")
    stream = f"{url}/api/v1/streams/dongles/{DONGLE}/console"
    _wait_for_frame(stream, token)
    _explain(data, link, f"curl -N -H @{shown(header)} {stream}")
    ended.wait()
    print("A part of the demo has ended. The last that each wrote:")
    for part in (server, agent):
        print(f"\n{part.last_lines()}")


def server_command(data: Path, host: str, port: int) -> list[object]:
    """A server with its files in this directory."""
    # A configuration of its own, lest it take that of a server that is installed here.
    config = data / "server.toml"
    config.touch()
    options = ["--config", config, "--host", host, "--port", port, "--data-dir", data / "server"]
    return [BIN / "stream-server", "run", *options]


def _agent_command(data: Path, url: str) -> list[object]:
    log, token = data / "drive.log", data / "agent-token"
    log.write_text("".join(demo_drive.lines()))
    # An id is one agent's per user, who may run a demo in each of several directories.
    agent_id = f"demo-van-{place_id(data)}"
    enroll(data, url, agent_id, token)
    config = data / "agent.toml"
    places = {"url": url, "token": token, "log": log, "databases": ROOT / "dbc"}
    config.write_text(CONFIG.format(agent_id=agent_id, dongle=DONGLE, **places))
    return [BIN / "edge-agent", "run", "--config", config]


def place_id(data: Path) -> str:
    """Short, and another for each directory."""
    return hashlib.sha256(os.fsencode(data)).hexdigest()[:6]


def enroll(data: Path, url: str, agent_id: str, token: Path) -> None:
    """An agent whose token lies in `token`."""
    enrolment = data / "enrolment-token"
    write_secret(enrolment, secret(data, "enroll", "create"))
    command: list[object] = [BIN / "edge-agent", "enroll", "--server", url, "--agent-id", agent_id]
    command += ["--allow-clear-text"]  # it is this machine by another of its addresses
    files = ["--token-file", enrolment, "--out", token]
    subprocess.run([str(part) for part in (*command, *files)], check=True, stdout=subprocess.DEVNULL)


def secret(data: Path, *command: str) -> str:
    """What this command of the server makes."""
    return subprocess.run(
        [BIN / "stream-server", *command, "--data-dir", data / "server"],
        check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip


def write_secret(path: Path, text: str) -> None:
    """For this user's eyes."""
    path.touch(mode=0o600)
    path.write_text(text)


def _wait_for_frame(stream: str, token: str) -> None:
    """Until a frame is on the console, so that whoever opens the page sees the van drive."""
    request = urllib.request.Request(f"{stream}?history=60", headers={"Authorization": f"Bearer {token}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=FRAME_SECONDS) as lines:
        next(line for line in lines if line.startswith(b"event: can_frame"))


def _explain(data: Path, link: str, curl: str) -> None:
    print(
        f"""
A demo van is on the road. Look at it in a browser (the link works once, for 15 minutes):

    {link}

or in a terminal:

    {curl}

The logs are {shown(data)}/server.log and agent.log. Ctrl-C ends it all.
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "demo-data"))
