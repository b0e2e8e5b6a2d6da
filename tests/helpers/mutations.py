"""Messages with something wrong in them: seeded, by their structure and by their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any, Final

ODD: Final[tuple[Any, ...]] = (
    0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**70, 1e300, 1e12, -1e12, 0.5, "",
    "x" * 600, "\x00", "\x1b[31m\n", "é", "a" * 64, "00" * 8, None, [], {}, True, [[]],
)  # fmt: skip


def mutated(chance: Random, value: Any) -> Any:
    """A copy with one thing wrong, or a few: a value, a member that is gone or called otherwise, a length."""
    changed = deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        places = list(_places(changed))
        if not places:
            return deepcopy(chance.choice(ODD))
        inside, key = chance.choice(places)
        match chance.randrange(8):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside["zz"] = inside.pop(key)
            case 2 if isinstance(inside[key], list):
                inside[key] *= chance.choice((2, 70))
            case _:
                inside[key] = deepcopy(chance.choice(ODD))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything inside, as what it lies in and its key there."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def with_other_bytes(chance: Random, content: bytes) -> bytes:
    """The same, but for some bytes, and perhaps not to its end."""
    data = bytearray(content)
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(len(data))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
    return bytes(data[: chance.randrange(1, max(len(data), 2))] if chance.random() < 0.2 else data)
