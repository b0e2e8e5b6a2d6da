"""Room for so much in all, and who goes when it is full: strangers first, of them the oldest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class _Taken(NamedTuple):
    much: int
    owner: tuple[bool, str]


@dataclass(slots=True)
class _Queue(Generic[K]):
    """Who came, the oldest first, and how much they hold."""

    held: int = 0
    keys: OrderedDict[K, None] = field(default_factory=OrderedDict)


class Places(Generic[K]):
    """`most` in all; of it a share for each credential, and one for the strangers of each address.

    What comes honestly is done in moments, and what waits on purpose becomes the oldest: so the one goes that
    has done nothing for longest. Nobody who is known goes for a stranger.
    """

    def __init__(self, most: int, *, per_credential: int, per_address: int) -> None:
        self._most = most
        self._shares: Final = {False: min(per_address, most), True: min(per_credential, most)}
        self._taken: dict[K, _Taken] = {}
        self._queues: Final[dict[bool, _Queue[K]]] = {False: _Queue(), True: _Queue()}
        self._owners: dict[tuple[bool, str], _Queue[K]] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._taken))

    @property
    def held(self) -> int:
        """How much is taken."""
        return self._queues[False].held + self._queues[True].held

    @property
    def strangers(self) -> int:
        """How many have not shown who they are."""
        return len(self._queues[False].keys)

    def take(self, key: K, much: int, owner: str, *, is_known: bool) -> list[K] | None:
        """Gives `key` so much; who loses its place for it. None: there is no room, and nobody goes for it.

        `owner`: of a credential its name, of a stranger its address.
        """
        stay = 0 if is_known else self._queues[True].held
        if much > self._shares[is_known] or stay + much > self._most:
            return None
        going: list[K] = []
        while self._owned(is_known, owner) + much > self._shares[is_known]:
            going.append(self._oldest(self._owners[is_known, owner]))
        while self.held + much > self._most:
            going.append(self._oldest(self._queues[bool(not self.strangers)]))
        self._add(key, _Taken(much, (is_known, owner)))
        return going

    def know(self, key: K, owner: str) -> bool:
        """`key` has shown of which credential it is; whether that one may have it beside its others."""
        taken = self._taken.get(key)
        if taken is None or taken.owner == (True, owner):
            return True
        if self._owned(True, owner) + taken.much > self._shares[True]:
            return False
        self.give_back(key)
        self._add(key, _Taken(taken.much, (True, owner)))
        return True

    def has_come(self, key: K) -> None:
        """`key` has done what it came for: all that wait on purpose are older than it."""
        taken = self._taken.get(key)
        if taken is not None:
            self._owners[taken.owner].keys.move_to_end(key)
            self._queues[taken.owner[0]].keys.move_to_end(key)

    def give_back(self, key: K) -> None:
        """`key` is done; nothing where it has lost its place before."""
        taken = self._taken.pop(key, None)
        if taken is None:
            return
        owned = self._owners[taken.owner]
        for queue in (owned, self._queues[taken.owner[0]]):
            queue.held -= taken.much
            del queue.keys[key]
        if not owned.keys:
            del self._owners[taken.owner]

    def _add(self, key: K, taken: _Taken) -> None:
        self._taken[key] = taken
        for queue in (self._owners.setdefault(taken.owner, _Queue()), self._queues[taken.owner[0]]):
            queue.held += taken.much
            queue.keys[key] = None

    def _owned(self, is_known: bool, owner: str) -> int:
        owned = self._owners.get((is_known, owner))
        return 0 if owned is None else owned.held

    def _oldest(self, queue: _Queue[K]) -> K:
        key = next(iter(queue.keys))
        self.give_back(key)
        return key
