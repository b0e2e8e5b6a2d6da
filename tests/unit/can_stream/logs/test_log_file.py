"""The bytes of a log: unpacked, recoded, and from pipes as they come."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from can_stream.errors import LogError
from can_stream.frames.batches import concatenate
from can_stream.logs.log_file import LogFile, can_be_read_again
from can_stream.logs.log_reader import LogReader, open_log

LINES = b"".join(b"(%d.000000) can0 123#%08X\n" % (n, n * 2654435761 % 2**32) for n in range(40_000))
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE, preset=0),
    "zst": zstd.compress,
}


@functools.cache
def packed_lines(kind: str) -> bytes:
    """LINES, compressed."""
    return COMPRESS[kind](LINES)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def all_of(path: Path) -> bytes:
    file = LogFile(path)
    try:
        return b"".join(iter(lambda: file.read(100_000), b""))
    finally:
        file.close()


def read_through(path: Path) -> LogReader:
    reader = open_log(path)
    for _ in reader:
        pass
    return reader


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_log_is_known_by_its_content(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "no-suffix", packed_lines(kind))
    assert all_of(path) == LINES
    reader = read_through(path)
    assert (reader.format, reader.frames, reader.unreadable, reader.is_cut) == ("candump", 40_000, 0, False)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_several_streams_follow_on_each_other_and_zeros_behind_them_are_nothing(
    kind: str, tmp_path: Path
) -> None:
    compress = COMPRESS[kind]
    packed = compress(LINES[:500]) + compress(b"") + compress(LINES[500:]) + bytes(1000)
    assert all_of(written(tmp_path / "x", packed)) == LINES
    assert not read_through(tmp_path / "x").is_cut


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_a_compressed_log_that_is_cut_gives_what_came_before_and_says_so(
    kind: str, part: float, tmp_path: Path
) -> None:
    packed = packed_lines(kind)
    reader = read_through(written(tmp_path / "x.log", packed[: int(len(packed) * part)]))
    assert reader.is_cut
    assert reader.unreadable == 1
    assert "was cut" in reader.problems[0].reason
    assert reader.frames + reader.unreadable == reader.items
    if kind == "gz":
        assert reader.frames > 40_000 * part * 0.9


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
def test_bytes_behind_the_end_are_named_and_take_nothing_away(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.log", COMPRESS[kind](LINES[:-1]) + b"nonsense")
    reader = read_through(path)
    assert (reader.frames, reader.unreadable, reader.is_cut) == (40_000, 1, True)
    assert "behind the end" in reader.problems[0].reason


def test_damage_in_the_middle_costs_nothing_before_it(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(LINES))
    place = len(packed) // 2
    packed[place : place + 40] = bytes(40)
    intact = gzip.compress(LINES)[: place - 8]
    kept = read_through(written(tmp_path / "cut.gz", intact)).frames
    reader = read_through(written(tmp_path / "damaged.gz", bytes(packed)))
    assert reader.is_cut
    assert reader.frames >= kept > 10_000


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_the_first_bytes_of_a_text_say_its_encoding(
    mark: bytes, encoding: str, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    text = LINES.decode().replace("\n", "\r\n")
    path = written(tmp_path / "x.log", compress(mark + text.encode(encoding)))
    assert all_of(path) == text.encode()
    assert read_through(path).frames == 40_000


@pytest.mark.parametrize(
    ("magic", "said"),
    [(b"PK\x03\x04", "ZIP archive"), (b"7z\xbc\xaf\x27\x1c", "7z x"), (b"Rar!\x1a\x07\x01", "unrar x")],
)
def test_archives_are_named_with_how_to_unpack_them(magic: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(LogError, match=said):
        open_log(written(tmp_path / "x.log", magic + bytes(100)))
    packed = gzip.compress(bytes(257) + b"ustar\0" + bytes(1000))
    with pytest.raises(LogError, match="tar xf"):
        open_log(written(tmp_path / "x.tar.gz", packed))


def test_a_log_that_is_compressed_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"compressed twice \(gzip in bzip2\): unpack it once"):
        open_log(written(tmp_path / "x.log", bz2.compress(gzip.compress(LINES))))


def test_a_bomb_is_unpacked_in_steps(tmp_path: Path) -> None:
    file = LogFile(written(tmp_path / "x.gz", gzip.compress(bytes(50_000_000))))
    assert max(len(file.read(1 << 20)) for _ in range(100)) <= 256 * 1024
    file.close()


def test_what_asks_for_too_much_memory_is_said_so(tmp_path: Path) -> None:
    window_of_2_gib = bytes([21 << 3])  # RFC 8878, 3.1.1.1.2
    reader = read_through(written(tmp_path / "x", b"\x28\xb5\x2f\xfd\0" + window_of_2_gib + bytes(100)))
    (problem,) = reader.problems
    assert "asks for too much memory: unpack it with" in problem.reason
    assert reader.is_cut


def test_a_pipe_gives_each_line_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert not can_be_read_again(path)
    came: list[float] = []
    wrote: list[float] = []

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for number in range(4):
                wrote.append(time.monotonic())
                pipe.write(b"(%d.5) can0 123#11\n" % number)
                time.sleep(0.4)

    writer = threading.Thread(target=write)
    writer.start()
    for batch in open_log(path):
        came += [time.monotonic()] * len(batch.frames)
    writer.join()
    assert len(came) == 4
    late = [after - before for before, after in zip(wrote, came, strict=True)]
    assert max(late) < 0.35


@pytest.mark.parametrize("name", ["gvret.csv", "drive.crtd", "measurement.asc", "human.txt"])
def test_every_format_comes_through_a_pipe(name: str, tmp_path: Path) -> None:
    content = (Path(__file__).parents[3] / "data" / "logs" / name).read_bytes()
    plain = concatenate([batch.frames for batch in open_log(written(tmp_path / name, content))])
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(content),))
    writer.start()
    reader = open_log(path)
    assert concatenate([batch.frames for batch in reader]).equals(plain)
    assert reader.size_bytes is None
    writer.join()
