"""Which format the beginning of a log shows."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from can_stream.errors import LogError
from can_stream.logs.recognition import format_of


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"LOGG\x90\0\0\0", "blf"),
        (b"MDF     4.10", "mf4"),
        (b"UnFinMF 4.10", "mf4"),
        (b"; $FILEVERSION=1.1\n", "trc"),
        (b"timestamp,arbitration_id,extended\n", "csv"),
        (b"Time Stamp,ID,Extended,Dir,Bus,LEN,D1\r\n", "gvret"),
        (b"1700000000.1 1R11 7DF 02\n", "crtd"),
        (b"$ candump can0\n (1.000000) can0 123#11\n", "candump"),
        (b"date Tue Nov 14 10:00:00 2023\n", "asc"),
    ],
)
def test_the_first_line_that_says_anything_decides(head: bytes, name: str) -> None:
    assert format_of(PurePath("x"), head, head.split(b"\n")) == name


def test_only_a_file_without_any_line_is_known_by_its_name() -> None:
    assert format_of(PurePath("x.csv.gz"), b"# x\n\n", [b"# x", b""]) == "gvret"
    assert format_of(PurePath("x.TRC"), b"", []) == "trc"
    with pytest.raises(LogError, match="not a log of a known format"):
        format_of(PurePath("x.trc"), b"x\n", [b"x"])
    # A line of what is no text: a log that was compressed twice.
    with pytest.raises(LogError, match="not a log of a known format"):
        format_of(PurePath("x.xz"), b"\xfd7zXZ", [b"\xfd7zXZ\0\0", b";\x86\x0e\x9c\x83\xee1\xfaJ"])
    with pytest.raises(LogError, match="a database, not a log"):
        format_of(PurePath("x.dbc"), b"x\n", [b"x"])
