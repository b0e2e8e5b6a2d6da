"""GVRET: its clock of 32 bits, and files that have been through a spreadsheet."""

from __future__ import annotations

import pytest

from can_stream.frames.batches import empty_batch
from can_stream.logs.formats.gvret import GvretParser
from can_stream.logs.formats.gvret_clock import GvretClock

WRAP = 2**32


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([WRAP - 10, 5, WRAP - 3, 7], [WRAP - 10, WRAP + 5, WRAP - 3, WRAP + 7]),
        ([WRAP - 10, 5, WRAP - 10, 5], [WRAP - 10, WRAP + 5, WRAP - 10, WRAP + 5]),
        ([3_000_000_000, 1_000_000_000], [3_000_000_000, 1_000_000_000]),
        ([5, WRAP - 10], [5, WRAP - 10]),
        ([WRAP - 10, 5, WRAP - 100_000_000, 7], [WRAP - 10, WRAP + 5, 2 * WRAP - 100_000_000, 2 * WRAP + 7]),
        ([1_736_070_000_000_000, 5, -7], [1_736_070_000_000_000, 5, -7]),
    ],
)
@pytest.mark.parametrize("rows_per_block", [1, 2, 9])
def test_times_go_on_where_the_clock_wraps(stamps: list[int], times: list[int], rows_per_block: int) -> None:
    parser = GvretParser()
    rows = [b"%d,123,false,Rx,0,1,01\n" % stamp for stamp in stamps]
    blocks = [b"".join(rows[at : at + rows_per_block]) for at in range(0, len(rows), rows_per_block)]
    read = [stamp for block in blocks for stamp in parser.parse(block).batch.frames.timestamp_ns.tolist()]
    assert read == [1000 * time for time in times]


def test_a_block_without_frames_does_not_move_the_clock() -> None:
    clock = GvretClock(wraps=1, last=5)
    assert len(clock.unwrapped(empty_batch())) == 0
    assert (clock.wraps, clock.last) == (1, 5)


def test_a_file_that_a_german_spreadsheet_saved_is_read() -> None:
    header = b"Time Stamp;ID;Extended;Dir;Bus;LEN;D1;D2"
    parsed = GvretParser(header).parse(
        b"sep=;\r\n"
        + header
        + b"\r\n973;0000013B;WAHR;Rx;0;2;00;4C;\r\n1,73607E+15;1;FALSCH;Rx;0;0\r\n;;;;;;;\r\n"
    )
    assert parsed.batch.frames.flags.tolist() == [1]
    assert [fault.reason for fault in parsed.faults] == [
        "a time stamp that a spreadsheet has shortened: use the file as it was recorded"
    ]
    assert parsed.others == {"header lines": 2, "blank lines": 1}
