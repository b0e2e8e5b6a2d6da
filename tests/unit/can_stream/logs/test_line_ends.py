"""Logs whose lines end with a CR alone, wholly or in places, wherever their bytes are cut."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from can_stream.logs.line_ends import LineEnds
from can_stream.logs.log_reader import open_log

LOGS = {
    "candump": "(1.5) can0 123#01\n(2.5) can0 124#02\n",
    "gvret": "Time Stamp,ID,Extended,Dir,Bus,LEN,D1\n1,123,false,Rx,0,1,01\n2,124,false,Rx,0,1,02\n",
    "crtd": "1.5 R11 123 01\n2.5 R11 124 02\n",
    "asc": "date Mon Jan 5 08:00:00 am 2026\nbase hex\n0.1 1 123 Rx d 1 01\n0.2 1 124 Rx d 1 02\n",
    "trc": ";$FILEVERSION=1.1\n  1)  10.0  Rx  0123  1  01\n  2)  20.0  Rx  0124  1  02\n",
    "csv": "timestamp,arbitration_id,extended,remote,error,dlc,data\n1,0x123,0,0,0,1,AQ==\n"
    "2,0x124,0,0,0,1,Ag==\n",
    "busmaster": "***BUSMASTER Ver 3.2.2***\n***HEX***\n10:00:00:0001 Rx 1 0x123 s 1 01\n"
    "10:00:00:0002 Rx 1 0x124 s 1 02\n",
}


@pytest.mark.parametrize("format_name", LOGS)
@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 17])
def test_every_line_counts_whatever_it_ends_with(tmp_path: Path, format_name: str, block_bytes: int) -> None:
    text = LOGS[format_name].encode()
    for content in (
        text.replace(b"\n", b"\r"),
        text.replace(b"\n", b"\r\n"),
        b"\r".join(text.rsplit(b"\n", 2)),
    ):
        path = tmp_path / "a.log"
        path.write_bytes(content)
        reader = open_log(path, block_bytes=block_bytes)
        data = [first for batch in reader for first in batch.frames.data[:, 0].tolist()]
        assert reader.format == format_name
        assert data == [1, 2], content
        assert (reader.items, reader.unreadable) == (text.count(b"\n"), 0), content


@pytest.mark.parametrize("format_name", LOGS)
@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 17])
def test_texts_with_a_byte_order_mark_may_be_joined(
    tmp_path: Path, format_name: str, block_bytes: int
) -> None:
    text = LOGS[format_name].encode()
    path = tmp_path / "a.log"
    path.write_bytes((codecs.BOM_UTF8 + text) * 2)
    reader = open_log(path, block_bytes=block_bytes)
    data = [first for batch in reader for first in batch.frames.data[:, 0].tolist()]
    assert (data, reader.unreadable, reader.items) == ([1, 2] * 2, 0, 2 * text.count(b"\n"))


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize("end", [b"", b"\xef", b"\xef\xbb", b"\xef\xbb\r"])
def test_no_byte_is_lost_that_looks_like_the_begin_of_a_mark(size: int, end: bytes) -> None:
    text = b"\xef\xbb\xbfa\xef\n\xef\xbb\xbf\xef\xbb\xbf\xef\xbbb" + end
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    read = LineEnds(lambda _: pieces.pop(0) if pieces else b"").read
    expected = b"a\xef\n\xef\xbbb" + end.replace(b"\r", b"\n")
    assert b"".join(iter(lambda: read(size), b"")) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_a_cr_before_another_line_end_is_kept_where_reads_end_between_them(size: int) -> None:
    text = b"a\r\nb\rc\r"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    read = LineEnds(lambda _: pieces.pop(0) if pieces else b"").read
    assert b"".join(iter(lambda: read(size), b"")) == b"a\r\nb\nc\n"
