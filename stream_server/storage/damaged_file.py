"""A damaged SQLite file as far as it can be read: rows by table, also where the way to them is lost.

SQLite goes from the root of a table to its rows, and loses all behind a damaged page. Here every page is
looked at by itself: the trees only say which table it belongs to, and where they do not, its rows do.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from stream_server.storage.sqlite_pages import (
    INTERIOR_INDEX,
    INTERIOR_TABLE,
    LEAF_INDEX,
    LEAF_TABLE,
    Cell,
    Layout,
    PageError,
    cells,
    children,
    kind_of,
    read_layout,
)
from stream_server.storage.write_ahead_log import committed_pages

MAX_TREES: Final = 250
_NOBODY: Final = 0
_FREE: Final = 255


class Tree(NamedTuple):
    """A table or an index: its name, the table it is of, and the page its tree begins with."""

    name: str
    table: str
    root: int


class DamagedFile:
    """One file, with its log, opened to be read. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        log = path.with_name(f"{path.name}-wal")
        self._log = log.read_bytes() if log.exists() else b""
        self._in_log = committed_pages(self._log)
        self.layout: Layout = Layout()
        with contextlib.suppress(PageError):
            self.layout = read_layout(self._raw(1)[:100])
        size = path.stat().st_size // self.layout.page_bytes
        self.pages: Final = max([size, *self._in_log])
        self.trees: Final = self._schema()
        self._owners = self._find_owners()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    def page(self, number: int) -> bytes:
        """The page of this number. PageError."""
        if not 1 <= number <= self.pages:
            raise PageError(f"there is no page {number}")
        return self._raw(number)

    def owner(self, number: int) -> str | None:
        """The table or index whose tree leads to the page; None where no tree does."""
        index = self._owners[number]
        return None if index in (_NOBODY, _FREE) else self.trees[index - 1].name

    def is_free(self, number: int) -> bool:
        """Whether the file itself says that nothing is in the page any more."""
        return self._owners[number] == _FREE

    def rows(self, number: int) -> list[Cell]:
        """What of the page's rows can be read; of another page nothing."""
        try:
            found = list(cells(self.page(number), number, self.layout, self.page))
        except PageError:
            return []
        return [cell for cell in found if isinstance(cell, Cell)]

    def kind(self, number: int) -> int:
        """What kind of page it says it is."""
        try:
            return kind_of(self.page(number), number)
        except PageError:
            return _NOBODY

    def has_root(self, table: str) -> bool:
        """Whether the page that a table begins with can be found and read."""
        roots = [tree.root for tree in self.trees if tree.name == table]
        return any(self.kind(root) in (LEAF_TABLE, INTERIOR_TABLE) for root in roots)

    def index_entries(self, table: str) -> Iterator[Cell]:
        """The entries of a table's indices: they repeat what is in its rows."""
        names = {tree.name for tree in self.trees if tree.table == table and tree.name != table}
        for number in range(1, self.pages + 1):
            if self.owner(number) in names and self.kind(number) in (LEAF_INDEX, INTERIOR_INDEX):
                yield from self.rows(number)

    def _raw(self, number: int) -> bytes:
        size = self.layout.page_bytes
        at = self._in_log.get(number)
        if at is not None:
            return self._log[at : at + size]
        self._file.seek((number - 1) * size)
        return self._file.read(size)

    def _schema(self) -> list[Tree]:
        """What page 1 and those below it say; nothing where it is lost."""
        found: list[Tree] = []
        for number in self._leaves(1):
            for cell in self.rows(number):
                if len(cell.values) == 5 and cell.values[0] in ("table", "index"):
                    _, name, table, root, _ = cell.values
                    if isinstance(name, str) and isinstance(table, str) and isinstance(root, int):
                        found.append(Tree(name, table, root))
        return found[:MAX_TREES]

    def _find_owners(self) -> bytearray:
        owners = bytearray(self.pages + 1)
        for number in self._free_pages():
            owners[number] = _FREE
        contested: set[int] = set()
        for index, tree in enumerate(self.trees, 1):
            for number in self._tree(tree.root):
                if owners[number] not in (_NOBODY, _FREE, index):
                    contested.add(number)
                owners[number] = index
        # A page written to the place of another leads to what is not its table's: the rows say whose it is.
        for number in contested:
            owners[number] = _NOBODY
        return owners

    def _leaves(self, root: int) -> Iterator[int]:
        return (number for number in self._tree(root) if self.kind(number) == LEAF_TABLE)

    def _tree(self, root: int) -> Iterator[int]:
        """The pages of a tree, level by level: all of a level are of one kind, so leaves are not read."""
        # Compact, since a large recording has millions of pages.
        level, seen = array("I", [root] if 1 <= root <= self.pages else []), bytearray(self.pages + 1)
        while level:
            yield from level
            if not any(self.kind(number) in (INTERIOR_TABLE, INTERIOR_INDEX) for number in level[:3]):
                return
            below = array("I")
            for number in level:
                seen[number] = True
                with contextlib.suppress(PageError):
                    below.extend(
                        child
                        for child in children(self.page(number), number)
                        if 1 <= child <= self.pages and not seen[child]
                    )
            level = below

    def _free_pages(self) -> Iterator[int]:
        """The list of pages that are not used: a chain of pages with numbers in them."""
        try:
            trunk = int.from_bytes(self._raw(1)[32:36], "big") if self._has_header() else 0
            seen: set[int] = set()
            while trunk and trunk not in seen:
                seen.add(trunk)
                page = self.page(trunk)
                yield trunk
                count = min(int.from_bytes(page[4:8], "big"), self.layout.usable // 4 - 2)
                for at in range(8, 8 + 4 * count, 4):
                    number = int.from_bytes(page[at : at + 4], "big")
                    if 1 <= number <= self.pages:
                        yield number
                trunk = int.from_bytes(page[:4], "big")
        except PageError:
            return

    def _has_header(self) -> bool:
        try:
            read_layout(self._raw(1)[:100])
        except PageError:
            return False
        return True
