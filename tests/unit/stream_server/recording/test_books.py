"""Books that add up say so, and others name each difference."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from stream_server.recording.books import (
    Books,
    HoleLine,
    LaneLine,
    StartLine,
    as_json,
    as_text,
    differences,
)

LANE = LaneLine("frames", here=60, deleted=20, recorded=80)
START = StartLine(
    lane="frames",
    start_id="00000000000000a1",
    made=100,
    recorded=80,
    in_gaps=20,
    gaps={"agent_spool": 15},
    gaps_forgotten=5,
    unknown_gaps=1,
    in_holes=0,
    holes=[],
    told_frames=100,
    told_acknowledged=80,
)


def test_what_adds_up_is_said_with_its_sums() -> None:
    assert differences([START], [LANE]) == []
    lines = as_text(Books("can0", [START], [LANE], [])).splitlines()
    assert lines[1].split() == ["frames", "00000000000000a1", "100", "80", "20", "0"]
    assert [line.strip() for line in lines[2:]] == [
        "agent_spool: 15",
        "in gaps whose records retention has deleted: 5",
        "gaps of unknown size: 1",
        "its agent said when it last greeted: 100 made, 80 acknowledged",
        "frames   all                       100           80           20            0",
        "of what was recorded 60 are here, 20 deleted",
        "everything adds up",
    ]


@pytest.mark.parametrize(
    ("start", "lane", "text"),
    [
        (replace(START, in_gaps=10, in_holes=10), LANE, "10 frames are known of, and neither here nor"),
        (replace(START, in_gaps=19), LANE, "100 frames were made, and 99 are accounted for"),
        (replace(START, told_acknowledged=81), LANE, "81 frames were acknowledged, and 80 recorded"),
        (replace(START, gaps_forgotten=-2), LANE, "gaps say 2 frames more than are in gaps"),
        (START, replace(LANE, here=59), "80 frames were recorded, and 59 here + 20 deleted are 79"),
    ],
)
def test_a_difference_is_named(start: StartLine, lane: LaneLine, text: str) -> None:
    (found,) = differences([start], [lane])
    assert text in found
    assert found.startswith("frames")
    shown = as_text(Books("can0", [start], [lane], [found]))
    assert shown.endswith(f"1 differences:\n{found}")


def test_a_hole_says_how_long_it_is_waited_for_and_programs_get_all_of_it() -> None:
    start = replace(START, made=None, in_holes=7, holes=[HoleLine(7, 7200.0, 1800.0)])
    found = Books("can0", [start], [LANE], ["x"])
    assert "hole of 7: known for 2.0 h, listed 0.5 h ago" in as_text(found)
    decoded = json.loads(as_json(found))
    assert decoded["starts"][0]["holes"] == [
        {"frames": 7, "known_for_seconds": 7200.0, "listed_seconds_ago": 1800.0}
    ]
    assert decoded["differences"] == ["x"]
