"""The guest's clock is set while its bus is busy: kernel timestamps of three clocks, one recording."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.agents import recorded_frames, recorded_gaps
from tests.helpers.conditions import eventually
from tests.helpers.processes import EnrolledAgent, StreamServer
from tests.vm.sandboxed_agent import sandboxed_agent

DAY_NS: Final = 86_400 * 10**9
NEAR_NS: Final = 50_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIMESYNCD_FLAG: Final = Path("/run/systemd/timesync/synchronized")
_ADJ_MAXERROR, _ADJ_STATUS, _STA_UNSYNC = 0x0004, 0x0010, 0x0040
_UNSYNCHRONISED_US: Final = 16_000_000


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2)), with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 64),
    )


def set_clock(wall_ns: int, *, synchronised: bool) -> None:
    """As `date -s` does it, and as timesyncd then says that it is right: to the kernel, which a service in a
    sandbox may not ask, and in a file."""
    time.clock_settime_ns(time.CLOCK_REALTIME, wall_ns)
    timex = _Timex(modes=_ADJ_MAXERROR | _ADJ_STATUS)
    timex.maxerror = 0 if synchronised else _UNSYNCHRONISED_US
    timex.status = 0 if synchronised else _STA_UNSYNC
    assert ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) >= 0
    TIMESYNCD_FLAG.parent.mkdir(exist_ok=True)
    TIMESYNCD_FLAG.unlink(missing_ok=True)
    if synchronised:
        TIMESYNCD_FLAG.touch()


@pytest.fixture
def right_offset_ns() -> Iterator[int]:
    """The guest's clock as it was, which the test takes for the right one; it is so again afterwards."""
    offset_ns = time.time_ns() - time.monotonic_ns()
    yield offset_ns
    set_clock(time.monotonic_ns() + offset_ns, synchronised=False)


@contextmanager
def traffic(bus: str, pause_seconds: float) -> Iterator[tuple[list[int], list[int]]]:
    """Frames that carry the monotonic time before they were sent; those times so far, and those after it."""
    sent: list[int] = []
    after: list[int] = []
    stop = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as opened:
            opened.bind((bus,))
            while not stop.is_set():
                now_ns = time.monotonic_ns()
                opened.send(struct.pack("<IB3x8s", 0x123, 8, now_ns.to_bytes(8, "big")))
                after.append(time.monotonic_ns())
                sent.append(now_ns)
                time.sleep(pause_seconds)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent, after
    finally:
        stop.set()
        thread.join()


def recorded(server: StreamServer, viewer: str) -> list[dict[str, Any]]:
    text = server.read("/api/v1/dongles/pi-can/frames?format=jsonl", viewer).decode()
    return [one for line in text.splitlines() if (one := json.loads(line))["type"] == "can_frame"]


def true_ns(frame: dict[str, Any]) -> int:
    moment = datetime.fromisoformat(frame.get("corrected_ts", frame["ts"]))
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def test_a_clock_set_during_traffic_costs_nothing_and_is_corrected(
    right_offset_ns: int, tmp_path: Path
) -> None:
    set_clock(time.monotonic_ns() + right_offset_ns - 3 * DAY_NS, synchronised=False)
    with StreamServer(tmp_path / "server") as server:
        viewer = server.create_token()
        agent = EnrolledAgent(server, "pi", tmp_path)
        dongle = {"id": "pi-can", "interface": "socketcan", "channel": "vcan0"}

        def more(frames: int) -> None:
            wanted = recorded_frames(server, "pi-can", viewer) + frames
            eventually(lambda: recorded_frames(server, "pi-can", viewer) >= wanted, f"{wanted} frames")

        with sandboxed_agent(agent, server.url, [dongle]) as process:
            services = f"/api/v1/agents/{agent.agent_id}/services"
            eventually(
                lambda: any(
                    one["service_type"] == "bus" and one["status"] == "OK"
                    for one in server.read_json(services, viewer)["services"]
                ),
                "the bus is read",
            )
            with traffic("vcan0", 0.004) as (sent, after):
                more(200)
                for days in (1, 2):  # forward, and back
                    set_clock(time.monotonic_ns() + right_offset_ns - days * DAY_NS, synchronised=False)
                    more(200)
                set_clock(time.monotonic_ns() + right_offset_ns, synchronised=True)
                # Who looks between the setting and the saying hears of it a second later.
                eventually(lambda: "clock_synchronised" not in recorded(server, viewer)[-1], "right times")
                more(200)
            eventually(lambda: recorded_frames(server, "pi-can", viewer) == len(sent), "all frames")
            assert process.stop() == 0
        frames = recorded(server, viewer)
        assert [int(frame["data_hex"].replace(" ", ""), 16) for frame in frames] == sent
        assert all(gap["frames"] is None for gap in recorded_gaps(server, "pi-can", viewer))
    marked = [frame for frame in frames if "clock_synchronised" in frame]
    assert len(marked) >= 600
    assert frames[: len(marked)] == marked
    assert all("corrected_ts" in frame for frame in marked)
    # Between the two times a busy machine may let it wait for as long as it likes.
    for frame, before_ns, after_ns in zip(frames, sent, after, strict=True):
        assert before_ns - NEAR_NS < true_ns(frame) - right_offset_ns < after_ns + NEAR_NS
