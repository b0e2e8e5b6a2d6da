"""Writes the demo drive: one minute of a small car in town, as a candump log. Seeded, so always the same."""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Callable, Iterator

SECONDS = 60
START_SECONDS = 1_766_417_400

Payload = Callable[[float, int], bytes]


def _speed_km_h(t: float) -> float:
    """Two blocks of town driving: pull away, cruise, brake, wait."""
    phase = t % 30
    if phase < 10:
        return 50 * math.sin(phase / 10 * math.pi / 2)
    if phase < 20:
        return 50 + 2 * math.sin(phase)
    return max(0.0, 50 * (26 - phase) / 6)


def _engine_rpm(t: float) -> float:
    speed = _speed_km_h(t)
    return 800 + (speed % 18) * 90 + 30 * math.sin(7 * t) if speed > 1 else 800 + 10 * math.sin(3 * t)


def _sealed(body: bytes, counter: int) -> bytes:
    """Seven bytes with a four-bit counter in the last one, and their sum behind them."""
    counted = body[:-1] + bytes([(body[-1] & 0xF0) | (counter & 0x0F)])
    return counted + bytes([sum(counted) & 0xFF])


def _words(*values: float) -> bytes:
    return b"".join((round(value) & 0xFFFF).to_bytes(2, "big") for value in values)


def _engine(t: float, n: int) -> bytes:
    return _sealed(_words(_engine_rpm(t) * 4, _speed_km_h(t) * 20, 900 + t) + b"\0", n)


def _wheels(t: float, n: int) -> bytes:
    speed = _speed_km_h(t) * 100
    return _words(*(speed + 4 * math.sin(t + wheel) for wheel in range(4)))


def _steering(t: float, n: int) -> bytes:
    return _sealed(_words(900 * math.sin(t / 4) + 32768, 40 * math.cos(t / 4) + 32768) + b"\0\0\0", n)


def _brake(t: float, n: int) -> bytes:
    pressed = 20 <= t % 30 < 26
    return _sealed(_words(400 if pressed else 0) + bytes([pressed]) + b"\0\0\0\0", n)


def _gear(t: float, n: int) -> bytes:
    return bytes([int(_speed_km_h(t) // 12), 0x40])


def _battery(t: float, n: int) -> bytes:
    return _words(1412 + 3 * math.sin(t), 250 + 5 * math.cos(t)) + bytes([87])


def _climate(t: float, n: int) -> bytes:
    return bytes([0x2A, 0x2C, 0x00, 22 * 2, 0x10, 0, 0, 0])


def _coolant_answer(t: float, n: int) -> bytes:
    """OBD-II, mode 01 PID 05 (SAE J1979): temperature in degrees Celsius plus 40."""
    return bytes([0x03, 0x41, 0x05, round(60 + t / 3) + 40, 0, 0, 0, 0])


def _ccvs(t: float, n: int) -> bytes:
    """SAE J1939 PGN 65265: wheel-based vehicle speed in 1/256 km/h in bytes 2 and 3."""
    return b"\xff" + round(_speed_km_h(t) * 256).to_bytes(2, "little") + b"\xff\xff\xff\xff\xff"


MESSAGES: tuple[tuple[str, float, Payload], ...] = (
    ("100", 0.020, _engine),
    ("110", 0.020, _wheels),
    ("120", 0.020, _steering),
    ("1A0", 0.050, _brake),
    ("220", 0.100, _gear),
    ("300", 0.500, _battery),
    ("3E0", 1.000, _climate),
    ("7E8", 1.000, _coolant_answer),
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
