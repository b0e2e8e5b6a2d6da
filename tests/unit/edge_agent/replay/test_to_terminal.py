"""Frames of a log as JSON lines, with what they say where there are databases."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from can_stream.signals.table import SignalTable
from edge_agent.logs.selection import Selection
from edge_agent.replay.replay import Pace, Replay
from edge_agent.replay.to_terminal import print_frames
from tests.helpers.signal_tables import gear_table

DRIVE = """\
(1766417462.000001) can0 100#0110270000000000
(1766417462.000002) can1 18DAF110#02010C
(1766417462.900003) can0 7FF#R3
"""


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    path = tmp_path / "drive.log"
    path.write_text(DRIVE)
    return path


async def printed(drive: Path, table: SignalTable | None = None, **selection: Any) -> list[dict[str, Any]]:
    out = io.BytesIO()
    await print_frames(Replay(Selection([drive], **selection), Pace(None, 0.05, loop=False)), out, table)
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def test_each_frame_is_a_line_in_the_order_of_the_log(drive: Path) -> None:
    lines = await printed(drive)
    assert [(one["bus"], one["id"]) for one in lines] == [
        ("can0", "0x100"),
        ("can1", "0x18DAF110"),
        ("can0", "0x7FF"),
    ]
    assert {one["type"] for one in lines} == {"can_frame"}
    assert not any("dongle_id" in one or "count" in one for one in lines)
    assert lines[0]["data_hex"].replace(" ", "") == "0110270000000000"
    assert [one.get("is_remote", False) for one in lines] == [False, False, True]


async def test_channels_have_the_names_that_they_were_given(drive: Path) -> None:
    assert [one["bus"] for one in await printed(drive, channels={"can0": "engine"})] == [
        "engine",
        "can1",
        "engine",
    ]


async def test_what_a_database_knows_is_decoded_and_the_rest_printed_all_the_same(drive: Path) -> None:
    lines = await printed(drive, gear_table())
    assert lines[0]["message"] == "Drive"
    assert lines[0]["signals"] == {"Gear": "Reverse", "Speed": 100.0}
    assert ["signals" in one for one in lines] == [True, False, False]


async def test_an_empty_log_prints_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.log"
    path.touch()
    assert await printed(path) == []


class Terminal(io.BytesIO):
    """One that says how much it had at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[int] = []

    def flush(self) -> None:
        self.flushed.append(len(self.getvalue().splitlines()))


async def test_every_window_is_seen_at_once(drive: Path) -> None:
    out = Terminal()
    await print_frames(Replay(Selection([drive]), Pace(None, 0.05, loop=False)), out, None)
    assert out.flushed[:2] == [2, 3]
