"""Kinds of files that people brought: what is read of each, and what is said of the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from can_stream.errors import LogError
from can_stream.frames.batches import FrameFlag, concatenate
from can_stream.logs.foreign_formats import foreign_format
from can_stream.logs.local_dates import local_ns
from can_stream.logs.log_reader import open_log

CASES = Path(__file__).parents[3] / "data" / "logs" / "cases"
MS = 1_000_000
# 45200.5 days: noon of 2023-10-01; 40000.5: of 2009-07-06; 46000.5: of 2025-12-09.
NOON_2023, NOON_2009, NOON_2025 = (
    local_ns(2023, 10, 1, 12),
    local_ns(2009, 7, 6, 12),
    local_ns(2025, 12, 9, 12),
)
ERROR, EXT, REMOTE, TX = FrameFlag.ERROR, FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.TX
FD, BRS = FrameFlag.FD, FrameFlag.BRS

# Name: start, milliseconds from it, identifiers, flags, lengths, channels, other kinds, unreadable lines
READ: dict[str, tuple[Any, ...]] = {
    "t10.trc": (
        *(local_ns(2023, 10, 4, 15, 10, 41) + 907_700_000, [1841.8, 1842.8, 1844.8], [1, 0x18FF0001, 2]),
        *([0, EXT, REMOTE], [8, 8, 3], "000", {"bus warnings": 1, "comments": 12}, {}),
    ),
    "t11.trc": (
        *(NOON_2009, [1059.9, 1349.2, 1352.7, 1354.7], [0x300, 8, 0x100, 0x100], [0, ERROR, REMOTE, 0]),
        *([7, 4, 3, 1], "0000", {"bus warnings": 1, "comments": 1, "header lines": 2}),
        {8: "5 data bytes, where the length says 8"},
    ),
    "t11comma.trc": (
        *(NOON_2023, [1059.9, 1283.2, 1300], [0x300, 0x300, 8], [0, 0, ERROR], [7, 7, 4], "000"),
        *({"comments": 1, "header lines": 2}, {}),
    ),
    "t12.trc": (
        *(NOON_2023, [1059.9, 1283.231, 1300], [0x300, 0x300, 0x18FF0001], [0, 0, EXT | TX], [7, 7, 2]),
        *("001", {"comments": 2, "header lines": 2}, {}),
    ),
    "t12semi.trc": (
        *(NOON_2009, [1059.9, 1283.2], [0x300, 0x300], [0, 0], [7, 7], "00"),
        *({"comments": 1, "header lines": 2}, {}),
    ),
    "t13.trc": (
        *(NOON_2023, [1059.9, 1283.231, 1300, 1302], [0x300, 8, 0x18FF0001, 0x301]),
        *([0, ERROR, EXT | TX, REMOTE], [7, 4, 2, 8], "0011"),
        *({"bus warnings": 1, "comments": 1, "header lines": 2}, {}),
    ),
    "t20.trc": (
        *(NOON_2023, [1059.9, 1283.231, 1309, 1310, 1311, 1312], [0x300, 0x300, 4, 0x500, 0x501, 0x18EFC034]),
        *([0, 0, ERROR, FD | TX, FD | BRS, EXT | REMOTE], [7, 0, 4, 12, 64, 8], "000000"),
        {
            **{"comments": 1, "header lines": 3, "hardware status changes": 1},
            **{"error counter changes": 1, "events": 1},
        },
        {},
    ),
    "t21.trc": (
        *(NOON_2025, [0, 0.25, 0.5, 1, 1.2], [0x102, 0x103, 4, 0x106, 0x107], [0, FD, ERROR, 0, EXT]),
        *([8, 12, 4, 9, 4], "01000", {"header lines": 3}),
        {n: f"{present} data bytes, where the length says 8" for n, present in ((7, 7), (9, 0))},
    ),
    "g02_semicolon.csv": (0, [973], [0x13B], [0], [8], "0", {"header lines": 1}, {}),
    "g03_excel_mangled.csv": (
        *(0, [1736070000000001], [0x13C], [EXT], [2], "0", {"header lines": 1}),
        {
            2: "a time stamp that a spreadsheet has shortened: use the file as it was recorded",
            3: "no valid data byte",
        },
    ),
    "g04_rollover.csv": (
        *(0, [4294966000, 4294967290, 2**32 + 12, 2**32 + 1012], [0x141] * 4, [0] * 4, [2] * 4, "0000"),
        *({"header lines": 1}, {}),
    ),
    "g05_negative.csv": (
        *(0, [-1770000000259854, -1770000000258841], [0x141, 0x143], [0, 0], [8, 8], "00"),
        *({"header lines": 1}, {}),
    ),
    "g07_quoted.csv": (0, [973], [0x13B], [0], [2], "0", {"blank lines": 1, "header lines": 1}, {}),
    "p02_pythoncan_more_cols.csv": (
        *(0, [], [], [], [], "", {"header lines": 1}, {2: "8 columns, not the 7 of python-can's CSV"}),
    ),
    "x01_busmaster.log": (
        *(local_ns(2023, 10, 12, 14, 29, 5), [640.2, 650.2], [0x100, 0x18FF0001], [0, EXT | TX], [8, 2]),
        *("00", {"header lines": 12}, {}),
    ),
}
REFUSED = {
    "x02_kvaser.csv": "Kvaser",
    "x03_pcanexplorer.csv": "PCAN-Explorer, which is not read: save the trace as .trc",
    "x04_canalyzer.csv": "CANalyzer",
    "x05_canhacker.trc": "CANHacker",
    "x06_clx000.txt": "CL1000",
    "x07_lawicel.txt": "slcan",
    "x08_vehicle_spy.csv": "Vehicle Spy",
    "x09_ixxat.csv": "IXXAT",
    "x15_cabana.csv": "cabana",
}


@pytest.mark.parametrize("name", READ)
def test_a_case_is_read_as_it_is(name: str) -> None:
    start_ns, times, identifiers, flags, lengths, channels, others, faults = READ[name]
    reader = open_log(CASES / name)
    batches = list(reader)
    frames = concatenate([batch.frames for batch in batches])
    unit = 1000 if name.startswith("g") else MS
    assert frames.timestamp_ns.tolist() == [start_ns + round(time * unit) for time in times]
    assert frames.arbitration_id.tolist() == identifiers
    assert frames.flags.tolist() == flags
    assert frames.length.tolist() == lengths
    assert "".join(reader.channels[number][3:] for batch in batches for number in batch.channel) == channels
    assert reader.others == others
    assert {problem.line: problem.reason for problem in reader.problems} == faults
    assert reader.is_local == (start_ns != 0)
    assert reader.frames + reader.unreadable + sum(others.values()) == reader.items


@pytest.mark.parametrize("name", REFUSED)
def test_a_log_of_another_tool_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(LogError, match=re.escape(REFUSED[name])) as refused:
        open_log(CASES / name)
    assert ": " in refused.value.reason


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"TimestampEpoch;BusChannel;ID;IDE;DLC;DataLength;Dir;EDL;BRS;DataBytes\r", "MF4 file"),
        (b'"No.","Time","Source","Destination","Protocol","Length","Info"', "Wireshark"),
        (b"No.     Time           Source                Destination           Protocol", "Wireshark"),
        (b"SQLite format 3\0\x10\0\1\1\0", "can.logconvert"),
        (b'{"type":"can_frame","ts":"2025-01-05T00:00:00.000000Z"}', "what edge-agent prints"),
        (b"ts,bus,id,message,signal,value,raw,unit\r", "what edge-agent prints"),
    ],
)
def test_what_is_no_log_is_known_by_a_line(line: bytes, what: str) -> None:
    assert what in (foreign_format(line) or "")


@pytest.mark.parametrize("line", [b"", b"# x", b"(1.0) can0 123#11", b"1,2,3", b"t", b"time", b"id,data"])
def test_a_line_of_nobody_refuses_nothing(line: bytes) -> None:
    assert foreign_format(line) is None
