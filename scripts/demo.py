"""`make demo`: a stream server and an agent that loops a demo drive, until Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import demo_drive  # noqa: E402 - the path above is where it is

DATA = ROOT / "demo-data"
BIN = Path(sys.executable).parent
PORT = 8080

CONFIG = """\
[agent]
id = "demo-van"

[server]
url = "{url}"
token_file = "{token}"

[[dongles]]
interface = "log"
channel = "{log}"
id = "demo-van-can0"
databases = ["{databases}/*.dbc"]
options = {{ loop = true }}
"""


def main() -> int:
    """Runs until Ctrl-C; exit status 1 when a part ends by itself."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(mode=0o700)
    log = DATA / "drive.log"
    log.write_text("".join(demo_drive.lines()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = _start_server()
    agent = None
    try:
        assert server.stdout is not None
        url = _after(server.stdout, "listening on ")
        link = _after(server.stdout, "sign in with ")
        agent = _start_agent(url, log)
        _explain(url, link)
        while server.poll() is None and agent.poll() is None:
            time.sleep(0.2)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        # Once is enough: a second signal must not leave the server behind.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for process in (agent, server):
            if process is not None:
                process.terminate()
                process.wait(10)


def _start_server() -> subprocess.Popen[str]:
    command = [BIN / "stream-server", "run", "--data-dir", DATA / "server", "--port"]
    server = _popen([*command, str(PORT)])
    try:
        status = server.wait(1.0)
    except subprocess.TimeoutExpired:
        return server
    print(f"Port {PORT} cannot be used (exit status {status}), taking another one.")
    return _popen([*command, "0"])


def _popen(command: list[object]) -> subprocess.Popen[str]:
    # In sessions of their own, so that Ctrl-C reaches only this process, which ends them in order.
    parts = [str(part) for part in command]
    return subprocess.Popen(parts, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _after(lines: IO[str], beginning: str) -> str:
    for line in lines:
        if line.startswith(beginning):
            return line.removeprefix(beginning).strip()
    raise SystemExit("the server ended before it was ready; what it said is above")


def _start_agent(url: str, log: Path) -> subprocess.Popen[bytes]:
    enrolment, token = DATA / "enrolment-token", DATA / "agent-token"
    enrolment.write_text(_server_secret("enroll", "create"))
    subprocess.run(
        [BIN / "edge-agent", "enroll", "--server", url, "--token-file", enrolment, "--agent-id", "demo-van",
         "--out", token], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    config = DATA / "agent.toml"
    config.write_text(CONFIG.format(url=url, token=token, log=log, databases=ROOT / "dbc"))
    # Its log goes into a file, so that what is printed here stays readable.
    with (DATA / "agent.log").open("wb") as errors:
        return subprocess.Popen(
            [BIN / "edge-agent", "run", "--config", config], stderr=errors, start_new_session=True
        )


def _server_secret(*command: str) -> str:
    return subprocess.run(
        [BIN / "stream-server", *command, "--data-dir", DATA / "server"],
        check=True, capture_output=True, text=True).stdout  # fmt: skip


def _explain(url: str, link: str) -> None:
    header = DATA / "viewer.header"
    header.touch(mode=0o600)
    header.write_text(f"Authorization: Bearer {_server_secret('token', 'create', '--role', 'viewer')}")
    place = header.relative_to(Path.cwd()) if header.is_relative_to(Path.cwd()) else header
    print(
        f"""
A demo van is on the road. Look at it in a browser (the link works once, for 15 minutes):

    {link}

or in a terminal:

    curl -N -H @{place} {url}/api/v1/streams/dongles/demo-van-can0/console

The agent's log is {DATA.name}/agent.log. Ctrl-C ends it all.
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
