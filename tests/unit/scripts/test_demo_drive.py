"""The demo drive: always the same, a frame rate any link carries, every frame decodable and plausible."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from cantools.database import load_file
from cantools.database.can import Database, Message
from cantools.database.namedsignalvalue import NamedSignalValue

ROOT: Final = Path(__file__).resolve().parents[3]
SECONDS: Final = 60
CCVS1: Final = 0x18FEF1FE
PLAUSIBLE: Final = {
    "EngineSpeed": (780, 3000),
    "VehicleSpeed": (0, 53),
    "WheelBasedVehicleSpeed": (0, 53),
    "WheelSpeedFrontLeft": (0, 53),
    "WheelSpeedRearRight": (0, 53),
    "CoolantTemperature": (80, 95),
    "EngineCoolantTemperature": (80, 95),
    "AcceleratorPedal": (0, 100),
    "SteeringAngle": (-100, 100),
    "SteeringRate": (-100, 100),
    "BrakePressure": (0, 50),
    "BatteryVoltage": (12, 15),
    "BatteryCurrent": (-50, 50),
    "BatteryStateOfCharge": (0, 100),
    "CabinTemperature": (15, 25),
    "OutsideTemperature": (-20, 40),
}
Value = float | str


def written() -> str:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo_drive.py"], check=True, capture_output=True, text=True
    ).stdout


@cache
def messages() -> dict[int, Message]:
    """By frame id; the J1939 speed, whose source address is the engine's, under the drive's id."""
    found: dict[int, Message] = {}
    for name in ("demo-vehicle", "obd2", "j1939"):
        database = load_file(ROOT / "dbc" / f"{name}.dbc", strict=True)
        assert isinstance(database, Database)
        found |= {message.frame_id: message for message in database.messages}
    return found | {CCVS1 & 0x1FFFFF00: found[CCVS1]}


@cache
def frames() -> tuple[tuple[float, int, bytes], ...]:
    def parsed() -> Iterator[tuple[float, int, bytes]]:
        for line in written().splitlines():
            time, _, frame = line.split(" ")
            arbitration_id, data = frame.split("#")
            yield float(time.strip("()")), int(arbitration_id, 16), bytes.fromhex(data)

    return tuple(parsed())


@cache
def series() -> dict[str, list[Value]]:
    """All values of a signal in their order, by signal name."""
    values: dict[str, list[Value]] = defaultdict(list)
    for _, arbitration_id, data in frames():
        signals = messages()[arbitration_id].decode(data)
        assert isinstance(signals, dict)
        for name, value in signals.items():
            assert isinstance(value, int | float | NamedSignalValue)
            values[name].append(str(value) if isinstance(value, NamedSignalValue) else value)
    return dict(values)


def test_the_drive_is_always_the_same() -> None:
    assert written() == written()


def test_frames_come_in_the_order_of_time_and_fewer_than_200_a_second() -> None:
    times = [time for time, _, _ in frames()]
    assert times == sorted(times)
    assert len(times) < 200 * SECONDS
    assert times[-1] - times[0] < SECONDS


def test_every_message_of_the_database_is_sent_at_its_cycle_time_and_in_its_length() -> None:
    demo = load_file(ROOT / "dbc" / "demo-vehicle.dbc", strict=True)
    assert isinstance(demo, Database)
    for message in demo.messages:
        sent = [(time, data) for time, arbitration_id, data in frames() if arbitration_id == message.frame_id]
        assert message.cycle_time is not None
        assert len(sent) == pytest.approx(SECONDS * 1000 / message.cycle_time, abs=1)
        assert {len(data) for _, data in sent} == {message.length}
        spaces = [later - earlier for (earlier, _), (later, _) in pairwise(sent)]
        assert spaces == pytest.approx([message.cycle_time / 1000] * len(spaces), abs=1e-5)


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_values_are_plausible(name: str) -> None:
    lowest, highest = PLAUSIBLE[name]
    assert all(isinstance(value, float | int) and lowest <= value <= highest for value in series()[name])


def test_the_car_changes_gear_brakes_and_stands_still() -> None:
    assert set(series()["CurrentGear"]) == {"Gear 1", "Gear 2", "Gear 3", "Gear 4"}
    assert set(series()["BrakePedal"]) == set(series()["BrakeSwitch"]) == {"Pressed", "Released"}
    assert 0 in series()["VehicleSpeed"]
    assert set(series()["Pid"]) == {0x05, 0x0C, 0x0D}


@pytest.mark.parametrize(
    ("name", "step"), [("VehicleSpeed", 2.5), ("CoolantTemperature", 1), ("SteeringAngle", 1)]
)
def test_values_change_without_jumps_even_where_the_drive_loops(name: str, step: float) -> None:
    """Engine frames come every 20 ms, OBD speeds every 3 s among them: only the first kind is compared."""
    values = series()[name] if name != "VehicleSpeed" else engine_values(name)
    for earlier, later in pairwise([*values, values[0]]):
        assert isinstance(earlier, float | int)
        assert isinstance(later, float | int)
        assert abs(later - earlier) <= step


def engine_values(name: str) -> list[Value]:
    found: list[Value] = []
    for _, arbitration_id, data in frames():
        if arbitration_id == 0x100:
            signals = messages()[arbitration_id].decode(data)
            assert isinstance(signals, dict)
            value = signals[name]
            assert isinstance(value, int | float)
            found.append(value)
    return found


@pytest.mark.parametrize(
    ("arbitration_id", "name"), [(0x100, "Engine"), (0x120, "Steering"), (0x1A0, "Brake")]
)
def test_counters_count_every_frame_and_checksums_hold(arbitration_id: int, name: str) -> None:
    counts = [int(count) for count in series()[f"{name}Counter"]]
    assert counts == [number % 16 for number in range(len(counts))]
    for _, frame_id, data in frames():
        if frame_id == arbitration_id:
            assert data[7] == sum(data[:7]) & 0xFF
