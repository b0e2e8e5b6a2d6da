"""What holds for a direction now, shared by those who fill it and those who hand it out. Pure."""

from __future__ import annotations

from msgspec import Struct

from stream_server.relay.line import Tile
from stream_server.relay.stretches import Stretch


class Terms(Struct):
    """`activation`: which one is on ("": none). `max_age_ns`: the sink's. `anew_ns`: when another record was
    served than before, None: never. `held_until_ns`: no frame is handed before. `opened_ns`: when the
    direction was opened again for its activation, 0: it was not; what was made before is not relayed."""

    max_age_ns: int
    activation: str = ""
    anew_ns: int | None = None
    held_until_ns: int = 0
    opened_ns: int = 0

    def since_opened(self, born_ns: int | None) -> int | None:
        """The same moment; unknown, so that it is too old, where the direction may have been closed then."""
        return None if born_ns is not None and born_ns <= self.opened_ns else born_ns

    def is_on(self, activation: str) -> bool:
        """Whether frames that were made for this activation are relayed."""
        return bool(activation) and activation == self.activation

    def is_doubtful(self, born_ns: int | None) -> bool:
        """Whether frames that did not come live to this process may have been offered to another record."""
        return self.anew_ns is not None and (born_ns is None or born_ns <= self.anew_ns)

    def is_refused(self, tile: Tile, now_ns: int) -> bool:
        """Whether a row or a hole becomes a count: it is too old, of unknown age, or in doubt."""
        return tile.in_doubt or tile.born_ns is None or now_ns - tile.born_ns > self.max_age_ns


def is_open(tile: Tile) -> bool:
    """Whether it is a row or a hole, and no count yet."""
    return not isinstance(tile, Stretch) or tile.reason == "hole"
