"""python-can's CSV: what its rows are, and what is said of those that are none."""

from __future__ import annotations

import pytest

from can_stream.errors import LineError
from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.python_can_csv import read_csv_row


def test_frames_of_each_kind() -> None:
    data = "AAECAwQFBgcICQoL"
    assert read_csv_row(b"1.000000001,0x123,0,0,0,1,/w==\r") == (1_000_000_001, "can0", 0x123, 0, 1, b"\xff")
    assert read_csv_row(b"-1.5,0x800,0,0,0,0,")[:4] == (-1_500_000_000, "can0", 0x800, FrameFlag.EXTENDED)
    assert read_csv_row(b"1.5e-05,1,0,0,0,0,")[0] == 15_000
    assert read_csv_row(b"1,1,0,1,0,8,")[3:] == (FrameFlag.REMOTE, 8, b"")
    assert read_csv_row(b"1,1,1,0,1,1,/w==")[3:] == (FrameFlag.ERROR, 1, b"\xff")
    assert read_csv_row(b"1,1,0,0,0,15,AAAAAAAAAAA=")[4:] == (15, bytes(8))
    assert read_csv_row(f"1,1,0,0,0,12,{data}".encode())[3:] == (FrameFlag.FD, 12, bytes(range(12)))
    assert read_csv_row(b"timestamp,arbitration_id,extended") == "header lines"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1,1,0,0,0,2", "6 columns, not the 7"),
        (b"nan,1,0,0,0,0,", "not a time"),
        (b"1" * 12 + b",1,0,0,0,0,", "timestamp out of range"),
        (b"1.71484E+09,1,0,0,0,0,", "that a spreadsheet has shortened"),
        (b"1,x,0,0,0,0,", "not an identifier"),
        (b"1,20000000,0,0,0,0,", "more than 29 bits"),
        (b"1,1,true,0,0,0,", "neither 0 nor 1"),
        (b"1,1,0,0,0,x,", "not a length"),
        (b"1,1,0,0,0,1,*", "no base64"),
        (b"1,1,0,0,0,2,/w==", "1 data bytes, where the length says 2"),
        (b"1,1,0,0,0,9,AAAAAAAAAAAA", "9 is no CAN FD length"),
        (b"1,1,0,1,0,16,", "16 is no length code"),
        (b"1,1,0,1,0,1,/w==", "data in a remote frame"),
        (b"1,1,0,0,1,12,AAECAwQFBgcICQoL", "12 data bytes in an error frame"),
    ],
)
def test_what_no_frame_can_be_is_named(row: bytes, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        read_csv_row(row)
