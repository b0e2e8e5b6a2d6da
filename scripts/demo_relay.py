"""`make demo-relay`: two buses as one. A server, two agents with a bus each, and a group, until Ctrl-C.

make demo-relay HOST=0.0.0.0 PORT=8081     # to be looked at from other machines, at another port

The buses are groups of python-can's udp_multicast on this machine, so it needs no adapter and no root.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# The path above is where they are.
from scripts import demo, demo_place  # noqa: E402
from scripts.demo_part import Part, end_at_signals  # noqa: E402
from scripts.demo_place import BIN, shown  # noqa: E402

GROUP: Final = "demo-bridge"
SIDES: Final = ("a", "b")
WAIT_SECONDS: Final = 60.0
_BEAT_SECONDS: Final = 0.2
# Of what is for one site alone (RFC 2365); a port per bus, since on one port Linux gives a socket what any
# socket of the machine has joined.
_ADDRESS: Final = "239.255.{}.{}"
_FIRST_PORT: Final = 20_000
_PROBE_ID: Final = 0x7F0
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))

CONFIG: Final = """\
[agent]
id = "{agent_id}"

[server]
url = "{url}"
allow_clear_text = true
token_file = "{token}"

[spool]
directory = "{spool}"

[relay]
transmit = "all"
max_age_seconds = 2
wake = true

[[dongles]]
interface = "udp_multicast"
channel = "{channel}"
id = "{dongle}"
mode = "normal"
bitrate = 500000
options = {{ port = {port} }}
"""


class Bus(NamedTuple):
    """One side's bus: a group of udp_multicast."""

    side: str
    channel: str
    port: int

    @property
    def dongle(self) -> str:
        """Its dongle's id."""
        return f"demo-{self.side}-can0"

    @property
    def options(self) -> str:
        """For the commands of python-can."""
        # The port in front: what takes several values would take the name of a log behind it too.
        return f"--bus-kwargs port={self.port} -i udp_multicast -c {self.channel}"


def buses(data: Path) -> tuple[Bus, Bus]:
    """Others for each directory, lest two demos be one bus."""
    number = int(demo.place_id(data), 16)
    address, port = (number >> 8) % 250 + 1, _FIRST_PORT + number % 20_000 * 2
    a, b = (Bus(side, _ADDRESS.format(address, at + 1), port + at) for at, side in enumerate(SIDES))
    return a, b


def main(data: Path) -> int:
    """Runs until Ctrl-C; exit status 1 when a part ends by itself, or what is needed is missing."""
    end_at_signals()
    a, b = buses(data)
    open_bus = bus_opener()
    for one in (a, b):
        open_bus(one).shutdown()
    held = demo_place.hold(data)
    host, port = demo_place.address()
    demo_place.empty(data)
    with contextlib.ExitStack() as parts:
        _run(data, held, demo.server_command(data, host, port), (a, b), parts)
    return 1


def bus_opener() -> Callable[[Bus], Any]:
    """What opens a bus; SystemExit with the remedy where this machine has none."""
    try:
        import can  # noqa: PLC0415 - what it needs may be missing
        import msgpack  # noqa: F401, PLC0415
    except ImportError as error:
        remedy = "`make dev` installs it"
        raise SystemExit(f"{error.name} is missing, without which there is no bus here: {remedy}.") from None

    def opened(bus: Bus) -> Any:
        try:
            return can.Bus(bus.channel, "udp_multicast", port=bus.port, ignore_config=True)
        except (OSError, can.CanError) as error:
            remedy = "`sudo ip link set lo up multicast on` and a default route give it one"
            raise SystemExit(f"This machine has no network for {bus.channel} ({error}): {remedy}.") from None

    return opened


def _run(
    data: Path, held: int, serve: list[object], both: tuple[Bus, Bus], parts: contextlib.ExitStack
) -> None:
    ended = threading.Event()
    server = Part.start(parts, serve, data / "server.log", ended, [held])
    url = server.after("listening on ").split()[0]
    link = server.after("sign in with ")
    agents = []
    for bus in both:
        agents.append(
            Part.start(parts, _agent_command(data, url, bus), data / f"{bus.side}.log", ended, [held])
        )
        agents[-1].after("streaming to ")
    token = demo.secret(data, "token", "create", "--role", "operator")
    demo.write_secret(data / "operator.header", f"Authorization: Bearer {token}")
    groups = f"{url}/api/v1/groups"
    _activate(groups, token, both)
    _explain(data, link, groups, both)
    ended.wait()
    print("A part of the demo has ended. The last that each wrote:")
    for part in (server, *agents):
        print(f"\n{part.last_lines()}")


def _agent_command(data: Path, url: str, bus: Bus) -> list[object]:
    token, config = data / f"{bus.side}-token", data / f"{bus.side}.toml"
    agent_id = f"demo-{bus.side}-{demo.place_id(data)}"
    demo.enroll(data, url, agent_id, token)
    places = {"url": url, "token": token, "spool": data / f"{bus.side}-spool"}
    config.write_text(
        CONFIG.format(agent_id=agent_id, dongle=bus.dongle, channel=bus.channel, port=bus.port, **places)
    )
    # A state of its own, which goes with the demo: a stop that was said in the last one would hold in this.
    return ["env", f"STATE_DIRECTORY={data / bus.side}-state", BIN / "edge-agent", "run", "--config", config]


def _activate(groups: str, token: str, both: tuple[Bus, Bus]) -> None:
    """Dry first, until frames would have been sent, then live, until one is."""
    a, b = both
    wanted = {"group_id": GROUP, "dongle_a_id": a.dongle, "dongle_b_id": b.dongle}
    _until(lambda: _ask("POST", groups, token, wanted), "the server knows both dongles")
    one = f"{groups}/{GROUP}"
    _ask("POST", f"{one}/activate", token, {"dry_run": True})
    _probe(a, lambda: _ask("GET", one, token)["not_sent_a_to_b"].get("dry_run"), "dry run")
    print("Dry run: what others send on bus A would be sent on bus B, and nothing is. Now live.", flush=True)
    _ask("POST", f"{one}/deactivate", token, {})
    _ask("POST", f"{one}/activate", token, {})
    _probe(a, lambda: _is_sent(_ask("GET", one, token), "a_to_b"), "A is relayed to B")
    _probe(b, lambda: _is_sent(_ask("GET", one, token), "b_to_a"), "B is relayed to A")


def _is_sent(state: Mapping[str, Any], way: str) -> bool:
    return bool(state[f"sent_{way}"] + state[f"accepted_{way}"])


def _probe(bus: Bus, arrived: Callable[[], object], what: str) -> None:
    """Frames on this bus, until one of them has got where it should."""
    import can  # noqa: PLC0415 - `bus_opener` has seen that it is there

    with bus_opener()(bus) as opened:

        def tried() -> object:
            opened.send(can.Message(arbitration_id=_PROBE_ID, is_extended_id=False, data=b"probe"))
            return arrived()

        _until(tried, what)


def _until(check: Callable[[], object], what: str) -> None:
    end_seconds = time.monotonic() + WAIT_SECONDS
    said = ""
    while time.monotonic() < end_seconds:
        try:
            if check():
                return
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
        time.sleep(_BEAT_SECONDS)
    raise SystemExit(f"This has not come within {WAIT_SECONDS:.0f} s: {what}. {said}")


def _ask(method: str, url: str, token: str, body: Mapping[str, object] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        url, None if body is None else json.dumps(body).encode(), headers, method=method
    )
    with _OPENER.open(request, timeout=WAIT_SECONDS) as answer:
        return json.loads(answer.read())


def _explain(data: Path, link: str, groups: str, both: tuple[Bus, Bus]) -> None:
    a, b = both
    frame = data / "frame.log"
    frame.write_text("(0.0) can0 123#DEADBEEF\n")
    header, place = shown(data / "operator.header"), shown(BIN)
    stop = (
        f"curl -X POST -H @{header} -H 'Content-Type: application/json' -d '{{}}' {groups}/{GROUP}/deactivate"
    )
    print(
        f"""
Two buses are one. Watch bus B in a second terminal, and send a frame on bus A in a third:

    {place}/can_logger {b.options}
    {place}/can_player {a.options} {shown(frame)}

The other way: watch A, send on B.

    {place}/can_logger {a.options}
    {place}/can_player {b.options} {shown(frame)}

How the group stands, what has become of B's frames, and how to end it:

    curl -H @{header} {groups}/{GROUP}
    {place}/edge-agent relay --config {shown(data / "b.toml")}
    {stop}

The consoles of both, in a browser (the link works once, for 15 minutes):

    {link}

The logs are {shown(data)}/server.log, a.log and b.log. Ctrl-C ends it all.
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "demo-relay-data"))
