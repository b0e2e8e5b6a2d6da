"""What has gone into an interface and come out of it, by its own counters: whether it may hold anything."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

# What a driver gives back it counts a moment before or after.
SETTLED_SECONDS: Final = 0.005


class Standing(Struct, frozen=True):
    """How an interface stands: which one it is, how many frames have left it, and the troubles it has had."""

    index: int
    gone_frames: int
    troubles: tuple[int, int]


class InterfaceBooks:
    """Of one opened socket. `since`: how the interface stood when it held nothing; `taken` frames were put
    into it from here since. None where that is not known: the counters say nothing of what a controller was
    given before the socket was opened.

    `echoes` of what was `taken` have come back, the last one at `echoed_seconds`.
    """

    def __init__(self) -> None:
        self.since: Standing | None = None
        self.taken = self.echoes = 0
        self.echoed_seconds = 0.0

    @property
    def is_known(self) -> bool:
        """Whether the counters tell what is inside."""
        return self.since is not None

    def is_proof_due(self, now_seconds: float) -> bool:
        """Whether all that was put into it has come back, and so has, as a driver keeps the order, what was
        there before: how it stands now may be given to `begin`."""
        is_back = 0 < self.taken == self.echoes
        return not self.is_known and is_back and now_seconds - self.echoed_seconds >= SETTLED_SECONDS

    def begin(self, standing: Standing) -> None:
        """It holds nothing, and stands like this."""
        self.since = standing
        self.taken = self.echoes = 0

    def follow(self, before: InterfaceBooks, standing: Standing, *, went_down: bool) -> None:
        """The socket of the books before this one is closed; now the interface stands like this.

        An interface that went down has thrown away what it had, and another one never had it.
        """
        if went_down or (before.since is not None and before.since.index != standing.index):
            self.begin(standing)
        elif before.since is not None:
            self.since, self.taken = before.since, before.taken

    def left(self, standing: Standing) -> int | None:
        """How many frames have not left it, negative where others' have; None where that is not known."""
        since = self.since
        if since is None or (standing.index, standing.troubles) != (since.index, since.troubles):
            return None
        return self.taken - (standing.gone_frames - since.gone_frames)

    def doubt(self) -> None:
        """The counters tell nothing any more."""
        self.since = None
