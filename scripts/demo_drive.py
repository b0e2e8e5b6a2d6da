"""Writes the demo drive: one minute of a small car in town, as a candump log, always the same.

dbc/demo-vehicle.dbc describes the car's own messages; its OBD-II answers and its J1939 speed are those of
dbc/obd2.dbc and dbc/j1939.dbc.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Callable, Iterator

SECONDS = 60
START_SECONDS = 1_766_417_400

Payload = Callable[[float, int], bytes]

GEAR_TOP_KM_H = (15.0, 30.0, 45.0)
RPM_PER_KM_H = (140.0, 85.0, 62.0, 48.0)


def _speed_km_h(t: float) -> float:
    """Two blocks of town driving: pull away, cruise, brake, wait."""
    phase = t % 30
    if phase < 10:
        return 50 * math.sin(phase / 10 * math.pi / 2)
    if phase < 20:
        return 50 + 2 * math.sin((phase - 10) / 5 * math.pi)
    return max(0.0, 50 * (26 - phase) / 6)


def _gear(t: float) -> int:
    return 1 + sum(_speed_km_h(t) > top for top in GEAR_TOP_KM_H)


def _engine_rpm(t: float) -> float:
    return max(800 + 10 * math.sin(3 * t), _speed_km_h(t) * RPM_PER_KM_H[_gear(t) - 1])


def _coolant_celsius(t: float) -> float:
    return 86 + 4 * math.sin(t / SECONDS * math.tau)


def _brakes(t: float) -> bool:
    return 20 <= t % 30 < 26


def _pedal_percent(t: float) -> float:
    phase = t % 30
    return 40 - 2 * phase if phase < 10 else 18 if phase < 20 else 0


def _sealed(body: bytes, counter: int) -> bytes:
    """Seven bytes with a four-bit counter in the last one, and their sum behind them."""
    counted = body[:-1] + bytes([(body[-1] & 0xF0) | (counter & 0x0F)])
    return counted + bytes([sum(counted) & 0xFF])


def _words(*values: float) -> bytes:
    return b"".join((round(value) & 0xFFFF).to_bytes(2, "big") for value in values)


def _engine(t: float, n: int) -> bytes:
    head = _words(_engine_rpm(t) * 4, _speed_km_h(t) * 100)
    running = 2 << 4
    return _sealed(head + bytes([round(_coolant_celsius(t)) + 40, round(_pedal_percent(t) * 2), running]), n)


def _wheels(t: float, n: int) -> bytes:
    speed = _speed_km_h(t) * 100
    return _words(*(max(0.0, speed * (1 + 0.002 * math.sin(t + wheel))) for wheel in range(4)))


def _steering(t: float, n: int) -> bytes:
    turn = math.tau / 20
    return _sealed(_words(900 * math.sin(turn * t), 900 * turn * math.cos(turn * t)) + b"\0\0\0", n)


def _brake(t: float, n: int) -> bytes:
    return _sealed(_words(200 if _brakes(t) else 0) + bytes([_brakes(t)]) + b"\0\0\0\0", n)


def _gearbox(t: float, n: int) -> bytes:
    drive = 3
    return bytes([_gear(t), drive])


def _battery(t: float, n: int) -> bytes:
    return _words(1412 + 3 * math.sin(t), 250 + 5 * math.cos(t)) + bytes([87])


def _climate(t: float, n: int) -> bytes:
    target, cabin, outside = (round((celsius + 40) * 2) for celsius in (22, 21.5 + math.sin(t / 9) / 2, 12))
    fan_level, compressor_on, fresh_air = 3, 1 << 4, 0
    return bytes([target, cabin, outside, fan_level | compressor_on, fresh_air, 0, 0, 0])


def _obd_answer(t: float, n: int) -> bytes:
    """OBD-II service 01 (SAE J1979), in turn: coolant temperature, engine speed, vehicle speed."""
    answers = (
        bytes([0x05, round(_coolant_celsius(t)) + 40]),
        bytes([0x0C]) + _words(_engine_rpm(t) * 4),
        bytes([0x0D, round(_speed_km_h(t))]),
    )
    answer = b"\x41" + answers[n % len(answers)]
    return (bytes([len(answer)]) + answer).ljust(8, b"\0")


def _ccvs(t: float, n: int) -> bytes:
    """SAE J1939 PGN 65265: speed in 1/256 km/h, cruise control off, brake switch; no more is available."""
    switches = 0xC0 | _brakes(t) << 4
    return b"\xff" + round(_speed_km_h(t) * 256).to_bytes(2, "little") + bytes([switches]) + b"\xff" * 4


MESSAGES: tuple[tuple[str, float, Payload], ...] = (
    ("100", 0.020, _engine),
    ("110", 0.020, _wheels),
    ("120", 0.020, _steering),
    ("1A0", 0.050, _brake),
    ("220", 0.100, _gearbox),
    ("300", 0.500, _battery),
    ("3E0", 1.000, _climate),
    ("7E8", 1.000, _obd_answer),
    ("18FEF100", 0.100, _ccvs),
)


def lines() -> Iterator[str]:
    """The log, line by line, in the order of time."""
    due = [(index * 0.0007, index, 0) for index in range(len(MESSAGES))]
    heapq.heapify(due)
    while due[0][0] < SECONDS:
        t, index, count = heapq.heappop(due)
        arbitration_id, period_seconds, payload = MESSAGES[index]
        yield f"({START_SECONDS + t:.6f}) can0 {arbitration_id}#{payload(t, count).hex().upper()}\n"
        heapq.heappush(due, (index * 0.0007 + (count + 1) * period_seconds, index, count + 1))


if __name__ == "__main__":
    sys.stdout.writelines(lines())
