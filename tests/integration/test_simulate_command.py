"""`edge-agent simulate`: what another bus receives, how it ends, and traffic of every shared database."""

from __future__ import annotations

import csv
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import can
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from can_stream.databases.checks import overlapping
from can_stream.databases.loading import load_databases
from can_stream.frames.batches import batch_of
from can_stream.signals.decoded import Value, numbers_of
from can_stream.signals.evaluate import decode
from can_stream.signals.exact import scaled
from can_stream.signals.table import SignalTable
from can_stream.text.frame_json import rows_of
from edge_agent.bus.python_can_bus import row_of
from edge_agent.cli.logs.simulate import simulate
from edge_agent.errors import ReplayError
from edge_agent.replay.to_bus import Transmitter
from edge_agent.simulation.messages import simulated_messages
from edge_agent.simulation.payloads import SimulatedMessage
from edge_agent.simulation.traffic import Traffic
from edge_agent.simulation.values import Limits
from tests.helpers.multicast import multicast_bus
from tests.helpers.processes import Process
from tests.helpers.shared_data import SHARED_DATA

ROOT: Final = Path(__file__).resolve().parents[2]
DATABASES: Final = sorted((ROOT / "dbc").glob("*.dbc"))
DEMO: Final = ROOT / "dbc" / "demo-vehicle.dbc"
INDEX: Final = SHARED_DATA / "dbc_index.csv"
COMMAND: Final = [sys.executable, "-c", "from edge_agent.cli.main import main; main()", "simulate"]
FD: Final = """VERSION ""
BU_: E
BO_ 256 Classic: 8 E
 SG_ AliveCounter : 0|8@1+ (1,0) [0|255] "" E
BO_ 257 Long: 32 E
 SG_ LongCounter : 200|16@1+ (1,0) [0|65535] "" E
BO_ 258 TooLong: 80 E
 SG_ S : 0|8@1+ (1,0) [0|255] "" E
"""


@pytest.fixture
def fd_database(tmp_path: Path) -> Path:
    path = tmp_path / "fd.dbc"
    path.write_text(FD)
    return path


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[can.BusABC]:
    with can.Bus(request.node.name, "virtual", ignore_config=True) as bus:
        yield bus


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(simulate, [str(argument) for argument in arguments])


def summary(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def received(bus: can.BusABC, count: int) -> list[can.Message]:
    messages: list[can.Message] = []
    while len(messages) < count and (message := bus.recv(60)) is not None:
        messages.append(message)
    return messages


def values_of(messages: list[can.Message], *databases: Path) -> list[tuple[str | None, dict[str, Value]]]:
    """Message and values of each frame; nothing may be undecoded."""
    rows = [row for message in messages if (row := row_of(message)) is not None]
    assert len(rows) == len(messages)
    decoded = decode(load_databases(databases).table, batch_of(rows))
    assert len(decoded.undecoded_row) == 0
    return [(decoded.message_name(at), values or {}) for at, values in enumerate(decoded.rows(choices=False))]


def test_another_bus_receives_every_message_as_often_as_its_cycle_says(peer: can.BusABC) -> None:
    done = run("--dbc", DEMO, "--to", f"virtual:{peer.channel_info.split()[-1]}", "--seconds", "2")
    assert done.exit_code == 0, done.output
    frames = summary(done.stdout)["frames"]
    assert frames == 2 * (3 * 50 + 20 + 10 + 2 + 1)
    found = values_of(received(peer, frames), DEMO)
    assert Counter(name for name, _ in found) == {
        "Engine": 100, "WheelSpeeds": 100, "Steering": 100, "Brake": 40, "Gearbox": 20, "Battery": 4,
        "Climate": 2,
    }  # fmt: skip
    counted = [values["EngineCounter"] for name, values in found if name == "Engine"]
    assert counted == [number % 16 for number in range(100)]
    assert peer.recv(0) is None


def test_a_rate_is_kept_and_the_messages_keep_their_proportions(peer: can.BusABC) -> None:
    done = run(
        "--dbc", DEMO, "--to", f"virtual:{peer.channel_info.split()[-1]}", "--seconds", "1", "--rate", "3660"
    )
    frames = summary(done.stdout)["frames"]
    assert frames == pytest.approx(3660, abs=8)
    counts = Counter(message.arbitration_id for message in received(peer, frames))
    assert counts[0x100] == pytest.approx(1000, abs=2)
    assert counts[0x300] == pytest.approx(40, abs=2)


def test_can_fd_messages_are_sent_where_the_bus_is_said_to_be_can_fd(
    peer: can.BusABC, fd_database: Path
) -> None:
    target = f"virtual:{peer.channel_info.split()[-1]}"
    plain = run("--dbc", fd_database, "--to", target, "--seconds", "0.5")
    assert "1 messages are left out: they are longer than a frame" in plain.stderr
    assert "1 CAN FD messages are left out" in plain.stderr
    assert {(m.arbitration_id, m.is_fd) for m in received(peer, summary(plain.stdout)["frames"])} == {
        (256, False)
    }
    with_fd = run("--dbc", fd_database, "--to", target, "--seconds", "0.5", "--fd")
    messages = received(peer, summary(with_fd.stdout)["frames"])
    assert {(m.arbitration_id, m.is_fd, m.dlc) for m in messages} == {(256, False, 8), (257, True, 32)}
    counted = [values["LongCounter"] for name, values in values_of(messages, fd_database) if name == "Long"]
    assert counted == list(range(5))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_another_process_receives_and_a_signal_ends_it_well(number: signal.Signals, status: int) -> None:
    pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")
    channel = f"239.74.163.{70 + number}"
    try:
        bus = multicast_bus(channel)
    except (OSError, can.CanError) as error:
        pytest.skip(f"no multicast here: {error}")
    databases = [part for path in DATABASES for part in ("--dbc", path)]
    # The receiver's buffer holds half a second of so many: what does not fit is dropped, as UDP does.
    options = ["--to", f"udp_multicast:{channel}", "--rate", "400"]
    with bus, Process([*COMMAND, *databases, *options]) as process:
        messages = received(bus, 2000)
        process.signal(number)
        assert process.wait() == status
        sent = summary(process.output)["frames"]
        messages += received(bus, sent - 2000)
        assert len(messages) == sent
        assert bus.recv(0) is None
        assert "Traceback" not in process.errors
    found = values_of(messages, *DATABASES)
    ids = {(one.model.arbitration_id, one.model.is_extended) for one in simulated_messages(DATABASES)[0]
           if one.cycle_seconds <= 1}  # fmt: skip
    assert {(m.arbitration_id, m.is_extended_id) for m in messages} >= ids
    assert all(name for name, _ in found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dbc", "missing.dbc", "--to", "virtual:x"], "missing.dbc"),
        (["--dbc", str(DEMO), "--to", "no-such-interface:x"], "no-such-interface"),
        (["--dbc", str(DEMO), "--to", "socketcan:no-such-can7"], "Error: "),
        (["--dbc", str(DEMO), "--to", "virtual"], "not of the form INTERFACE:CHANNEL"),
        (["--dbc", str(DEMO), "--to", "virtual:x", "--rate", "nan"], "no number above 0"),
        (["--dbc", str(DEMO), "--to", "virtual:x", "--seconds", "-1"], "no number above 0"),
        (["--dbc", str(DEMO)], "--to"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code in {1, 2}
    assert isinstance(done.exception, SystemExit)
    assert said in done.stderr


def test_a_bus_that_takes_no_frame_any_more_is_said_with_the_number_of_the_frame() -> None:
    row = next(rows_of(Traffic(simulated_messages([DEMO])[0]).before(10**9)))
    with Transmitter("virtual", "closed-too-early") as transmitter:
        transmitter.send(row)
    with pytest.raises(ReplayError, match="virtual:closed-too-early does not take frame 2: "):
        transmitter.send(row)
    assert transmitter.sent == 1


def test_help_says_that_it_transmits() -> None:
    text = " ".join(run("--help").output.split())
    assert "TRANSMITS" in text
    assert "never use it on a vehicle" in text


def shared_databases() -> list[Path]:
    if not INDEX.exists():
        return []
    with INDEX.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        SHARED_DATA / row["path"]
        for row in rows
        if row["cantools_lenient"] == "ok" or row["path"].lower().endswith(".dbc")
    ]


@pytest.mark.recorded
@pytest.mark.parametrize("path", shared_databases(), ids=lambda path: path.name)
def test_traffic_of_every_shared_database_is_decoded_whole_and_within_limits(path: Path) -> None:
    messages = [replace(one, cycle_seconds=0.01) for one in simulated_messages([path])[0] if one.fits_a_frame]
    frames = Traffic(messages).before(500_000_000)
    assert len(frames) == 50 * len(messages)
    table = SignalTable([one.model for one in messages])
    decoded = decode(table, frames)
    for at in set(decoded.undecoded_row.tolist()):
        one = messages[int(decoded.message[at])]
        outside = {s.name for s in one.model.signals if s.needed_bytes > one.model.length}
        assert set(decoded.undecoded_of(at)) <= outside
    checked = [limits for one in messages for limits in limits_to_check(one)]
    values = numbers_of(decoded.kind, decoded.bits)
    for index, value in zip(decoded.signal.tolist(), values, strict=True):
        minimum, maximum = checked[index]
        assert minimum is None or value >= minimum, table.signals[index].name
        assert maximum is None or value <= maximum, table.signals[index].name


def limits_to_check(one: SimulatedMessage) -> Iterator[Limits]:
    """Without those of signals over the same bits, and those that no raw value meets."""
    shared = [signal for pair in overlapping(one.model) for signal in pair]
    for model, (minimum, maximum) in zip(one.model.signals, one.limits, strict=True):
        least, most = sorted(scaled(model, raw) for raw in model.raw_limits)
        is_met = (minimum is None or minimum <= most) and (maximum is None or maximum >= least)
        in_order = minimum is None or maximum is None or minimum <= maximum
        yield (minimum, maximum) if is_met and in_order and model not in shared else (None, None)
