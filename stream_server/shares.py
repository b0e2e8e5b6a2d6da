"""Who has to give up how much, so that all fits: whoever takes most gives first."""

from __future__ import annotations

from collections.abc import Mapping


def surpluses(taken: Mapping[str, int], most: int, most_each: int | None = None) -> dict[str, int]:
    """How much each of `taken` must give up, in what they are counted; who need not is not among them.

    Nobody keeps more than `most_each`. Where the rest is still more than `most`, those who take most are
    brought down to one level, below which nobody is touched.
    """
    bound = most if most_each is None else min(most, most_each)
    kept = {one: min(size, bound) for one, size in taken.items()}
    level = _level(list(kept.values()), most)
    return {one: size - min(kept[one], level) for one, size in taken.items() if size > min(kept[one], level)}


def _level(sizes: list[int], most: int) -> int:
    """What the largest may be, so that all fit together."""
    room = most
    for place, size in enumerate(ordered := sorted(sizes)):
        fair = room // (len(ordered) - place)
        if size > fair:
            return fair
        room -= size
    return most
