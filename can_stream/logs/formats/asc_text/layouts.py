"""The layouts of the lines of one Vector ASC log, learned as they come."""

from __future__ import annotations

from typing import Final

from can_stream.logs.formats.asc_text.usual import Layout, find_layout
from can_stream.logs.formats.asc_text.usual_fd import FdLayout, find_fd_layout

# Fewer lines are read sooner one at a time.
FEW_LINES: Final = 16
_MOST_LAYOUTS: Final = 6
# Where among the lines that are left others are learned from.
SAMPLES: Final = (0.5, 0.1, 0.9, 0.3, 0.7)


class Layouts:
    """The layouts of a log, that of the last sample first."""

    def __init__(self) -> None:
        self._known: list[Layout | FdLayout] = []

    def known(self, *, is_decimal: bool) -> list[Layout | FdLayout]:
        """Those that were learned before. CANFD lines are hexadecimal under any base."""
        return [
            layout
            for layout in self._known
            if not isinstance(layout, Layout) or layout.is_decimal == is_decimal
        ]

    def learn(self, line: bytes, *, is_decimal: bool) -> Layout | FdLayout | None:
        """The layout of `line`; None where it has none or that is known already."""
        learned = find_fd_layout(line) if b"CANFD" in line else find_layout(line, is_decimal=is_decimal)
        if learned is None or learned in self._known:
            return None
        self._known = [learned, *self._known[: _MOST_LAYOUTS - 1]]
        return learned

    def forget(self, layout: Layout | FdLayout) -> None:
        """No line has it any more."""
        self._known.remove(layout)
