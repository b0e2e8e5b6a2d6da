"""Whatever happened to compressed bytes, all that comes before the damage is given, in bounded pieces."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from can_stream.logs.unpacking import (
    COMPRESSIONS,
    UNPACKED_BYTES,
    BrokenOffError,
    Compression,
    Unpacked,
    compression_of,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": lambda content: bz2.compress(content, 1),
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "zstd": zstd.compress,
}
_NOISE = random.Random(5).randbytes(3_000)
_LINES = b"".join(b"(%d.000000) can0 123#%08X\n" % (n, n * 2654435761 % 2**32) for n in range(20_000))
_contents = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 3_000)).map(lambda pair: pair[0] * pair[1]),
    st.integers(0, 3_000).map(lambda size: _NOISE[:size]),
)
by_name = {one.name: one for one in COMPRESSIONS}


def unpack(compression: Compression, packed: bytes, *, is_file: bool) -> tuple[bytes, bool, bool]:
    """All that is given, whether it broke off, and whether bytes stood behind the end."""

    def again(offset: int) -> Iterator[bytes]:
        yield packed[offset:]

    unpacked = Unpacked(compression, io.BytesIO(packed).read, again if is_file else None)
    pieces: list[bytes] = []
    try:
        while piece := unpacked.read():
            assert len(piece) <= 2 * UNPACKED_BYTES
            pieces.append(piece)
    except BrokenOffError:
        return b"".join(pieces), True, unpacked.left_over
    return b"".join(pieces), False, unpacked.left_over


@pytest.mark.parametrize("name", COMPRESS)
@given(content=_contents, other=_contents)
def test_what_was_compressed_comes_out_and_a_second_stream_follows(
    name: str, content: bytes, other: bytes
) -> None:
    packed = COMPRESS[name](content)
    found = compression_of(packed)
    assert found is not None
    assert found.name == name
    assert unpack(found, packed, is_file=True) == (content, False, False)
    assert unpack(found, packed + COMPRESS[name](other), is_file=False) == (content + other, False, False)


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("is_file", [False, True])
@given(content=_contents, part=st.floats(0, 0.999), tail=st.sampled_from([b"", b"\0", b"garbage"]))
@example(content=_NOISE * 200, part=0.5, tail=b"garbage")
def test_a_cut_anywhere_gives_a_beginning(
    name: str, is_file: bool, content: bytes, part: float, tail: bytes
) -> None:
    packed = COMPRESS[name](content)
    given_bytes, broke_off, _ = unpack(by_name[name], packed[: int(len(packed) * part)], is_file=is_file)
    assert content.startswith(given_bytes)
    assert broke_off is (int(len(packed) * part) > 0)
    # Of an .lzma file its own end is not marked.
    assert unpack(by_name[name], packed + tail, is_file=is_file)[0] == content
    if tail == b"garbage":
        assert unpack(by_name[name], packed + tail, is_file=is_file)[2]


@pytest.mark.parametrize("name", COMPRESS)
@given(content=_contents, place=st.floats(0, 0.999), value=st.integers(1, 255))
@example(content=_LINES, place=0.7, value=9)
def test_of_a_damaged_file_no_byte_before_the_damage_is_lost(
    name: str, content: bytes, place: float, value: int
) -> None:
    packed = bytearray(COMPRESS[name](content))
    packed[int(len(packed) * place)] ^= value
    wanted = byte_by_byte(by_name[name], bytes(packed))
    given_bytes, _, _ = unpack(by_name[name], bytes(packed), is_file=True)
    assert len(given_bytes) >= len(wanted)
    is_same = given_bytes.startswith(wanted)
    assert is_same


def byte_by_byte(compression: Compression, packed: bytes) -> bytes:
    unpacker = compression.make()
    found = bytearray()
    try:
        for value in packed:
            found += unpacker.decompress(bytes([value]))
            while not unpacker.eof and not unpacker.needs_input:
                found += unpacker.decompress(b"")
    except Exception:
        return bytes(found)
    return bytes(found)
