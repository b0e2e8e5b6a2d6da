"""SQLite's file format, read page by page: what is left of a file that SQLite itself refuses.

The format is that of https://www.sqlite.org/fileformat2.html, sections 1.6 (b-tree pages) and 2.1 (records).
Pages are outside bytes: whatever does not fit is a PageError, and nothing is read beyond its page. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

INTERIOR_INDEX: Final = 2
INTERIOR_TABLE: Final = 5
LEAF_INDEX: Final = 10
LEAF_TABLE: Final = 13
DEFAULT_PAGE_BYTES: Final = 4096
MAGIC: Final = b"SQLite format 3\0"
MAX_PAYLOAD_BYTES: Final = 64_000_000
"""More than any row of ours: a length that a damaged page makes up must not fill the memory."""
_HEADER_BYTES: Final = 100
_INT_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_MAX_COLUMNS: Final = 100

Value = int | float | str | bytes | None
ReadPage = Callable[[int], bytes]
"""The page of a number from 1; PageError where there is none."""


class PageError(ValueError):
    """What is in the page is no part of a database."""


class Cell(NamedTuple):
    """A row of a table, or an entry of an index, whose `rowid` is the last of its `values`."""

    rowid: int
    values: tuple[Value, ...]


class Layout(NamedTuple):
    """What the header of a file says: bytes of a page, and how many at its end are not used."""

    page_bytes: int = DEFAULT_PAGE_BYTES
    reserved_bytes: int = 0

    @property
    def usable(self) -> int:
        """Bytes of a page that hold something."""
        return self.page_bytes - self.reserved_bytes


def read_layout(header: bytes) -> Layout:
    """The layout of the file that begins with these bytes. PageError."""
    if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
        raise PageError("no header of a database")
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1) or header[20] > size - 480:
        raise PageError(f"a page of {size} bytes")
    return Layout(size, header[20])


def kind_of(page: bytes, number: int) -> int:
    """The first byte of a b-tree page; of another page whatever is there."""
    at = _HEADER_BYTES if number == 1 else 0
    return page[at] if len(page) > at else 0


def children(page: bytes, number: int) -> list[int]:
    """The pages that an interior page refers to, in order. PageError."""
    if kind_of(page, number) not in (INTERIOR_INDEX, INTERIOR_TABLE):
        raise PageError("no interior page")
    places = list(_cell_places(page, number))
    start = _HEADER_BYTES if number == 1 else 0
    found = [int.from_bytes(_cut(page, place, 4), "big") for place in places]
    return [*found, int.from_bytes(_cut(page, start + 8, 4), "big")]


def cells(page: bytes, number: int, layout: Layout, read_page: ReadPage) -> Iterator[Cell | PageError]:
    """What a leaf page, or the interior page of an index, holds; a PageError in place of what cannot be read.

    PageError where it is another page.
    """
    kind = kind_of(page, number)
    if kind not in (LEAF_TABLE, LEAF_INDEX, INTERIOR_INDEX):
        raise PageError("no page of rows")
    for place in list(_cell_places(page, number)):
        try:
            yield _cell(page, place, kind, layout, read_page)
        except PageError as error:
            yield error


def _cell(page: bytes, place: int, kind: int, layout: Layout, read_page: ReadPage) -> Cell:
    place += 4 if kind == INTERIOR_INDEX else 0
    size, place = _varint(page, place)
    if not 0 < size <= MAX_PAYLOAD_BYTES:
        raise PageError(f"a payload of {size} bytes")
    if kind == LEAF_TABLE:
        rowid, place = _varint(page, place)
        values = record(_payload(page, place, size, layout.usable - 35, layout, read_page))
        return Cell(_signed(rowid), values)
    most = (layout.usable - 12) * 64 // 255 - 23
    values = record(_payload(page, place, size, most, layout, read_page))
    if not values or not isinstance(values[-1], int):
        raise PageError("an entry of an index without its row")
    return Cell(values[-1], values)


def _payload(page: bytes, place: int, size: int, most: int, layout: Layout, read_page: ReadPage) -> bytes:
    if size <= most:
        return _cut(page, place, size)
    least = (layout.usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (layout.usable - 4)
    local = local if local <= most else least
    parts = [_cut(page, place, local)]
    following = int.from_bytes(_cut(page, place + local, 4), "big")
    left = size - local
    while left > 0:
        overflow = read_page(following)
        following = int.from_bytes(_cut(overflow, 0, 4), "big")
        parts.append(_cut(overflow, 4, min(left, layout.usable - 4)))
        left -= len(parts[-1])
    return b"".join(parts)


def record(payload: bytes) -> tuple[Value, ...]:
    """The values of a row. PageError."""
    end, place = _varint(payload, 0)
    if not place <= end <= len(payload):
        raise PageError("a header beyond its record")
    kinds: list[int] = []
    while place < end:
        kind, place = _varint(payload, place)
        kinds.append(kind)
        if len(kinds) > _MAX_COLUMNS:
            raise PageError("too many columns")
    values: list[Value] = []
    for kind in kinds:
        value, size = _value(payload, end, kind)
        values.append(value)
        end += size
    if end != len(payload):
        raise PageError("bytes behind the last column")
    return tuple(values)


def _value(payload: bytes, place: int, kind: int) -> tuple[Value, int]:
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), 0
    if kind in _INT_BYTES:
        size = _INT_BYTES[kind]
        return int.from_bytes(_cut(payload, place, size), "big", signed=True), size
    if kind < 12:
        raise PageError(f"a column of kind {kind}")  # 7 is a float: no table of ours has one
    size = (kind - 12) // 2
    raw = _cut(payload, place, size)
    if kind % 2 == 0:
        return raw, size
    try:
        return raw.decode(), size
    except UnicodeDecodeError as error:
        raise PageError("text that is none") from error


def _cell_places(page: bytes, number: int) -> Iterator[int]:
    start = _HEADER_BYTES if number == 1 else 0
    first = start + (12 if page[start] in (INTERIOR_INDEX, INTERIOR_TABLE) else 8)
    count = int.from_bytes(_cut(page, start + 3, 2), "big")
    for at in range(first, first + 2 * count, 2):
        place = int.from_bytes(_cut(page, at, 2), "big")
        if place < first + 2 * count:
            raise PageError("a cell within the header")
        yield place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Up to nine bytes, seven bits each but the last. Returns the number, and where it ends."""
    value = 0
    for at in range(place, min(place + 9, len(data))):
        byte = data[at]
        if at - place == 8:
            return (value << 8) | byte, at + 1
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at + 1
    raise PageError("a number beyond the page")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _cut(data: bytes, place: int, size: int) -> bytes:
    part = data[place : place + size]
    if len(part) != size:
        raise PageError("beyond the page")
    return part
