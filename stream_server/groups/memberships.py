"""Which groups there are, and who may be in one: exactly two dongles, each in at most one group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final, NamedTuple

from can_stream.protocol.identity import identifier_from
from stream_server.errors import ApiError, not_found

MAXIMUM_ID_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Group:
    """Two dongles as one. Which of them is A stays so."""

    group_id: str
    dongle_a_id: str
    dongle_b_id: str
    created_at_ns: int

    @property
    def dongle_ids(self) -> tuple[str, str]:
        """A, then B."""
        return self.dongle_a_id, self.dongle_b_id


class Wanted(NamedTuple):
    """A group that is asked for. Without an id it is called after its dongles."""

    group_id: str | None
    dongle_a_id: str
    dongle_b_id: str


class Memberships:
    """Groups by id, and of each dongle the one that it is in."""

    def __init__(self, groups: Iterable[Group] = ()) -> None:
        self._groups: dict[str, Group] = {}
        self._group_of: dict[str, Group] = {}
        for group in groups:
            self.add(group)

    def __iter__(self) -> Iterator[Group]:
        return iter(sorted(self._groups.values(), key=lambda group: group.group_id))

    def __len__(self) -> int:
        return len(self._groups)

    def group(self, group_id: str) -> Group:
        """ApiError GROUP_NOT_FOUND."""
        group = self._groups.get(group_id)
        if group is None:
            raise not_found("group", group_id)
        return group

    def of_dongle(self, dongle_id: str) -> Group | None:
        """The group that the dongle is in."""
        return self._group_of.get(dongle_id)

    def form(self, wanted: Wanted, now_ns: int) -> Group:
        """A new group of two dongles that are known.

        ApiError 400 for one dongle twice; 409 GROUP_EXISTS, DONGLE_IN_GROUP.
        """
        group_id, dongle_a_id, dongle_b_id = wanted
        if dongle_a_id == dongle_b_id:
            message = f"a group is of two dongles, and both are {dongle_a_id!r}: name another as dongle_b_id"
            raise ApiError(400, "BAD_REQUEST", message, {"field": "dongle_b_id"})
        if group_id in self._groups:
            message = f"there is a group {group_id!r} already; choose another id, or delete that group first"
            raise ApiError(409, "GROUP_EXISTS", message, {"group_id": group_id})
        for dongle_id in (dongle_a_id, dongle_b_id):
            self._check_free(dongle_id)
        named = group_id or default_group_id(dongle_a_id, dongle_b_id, self._groups)
        group = Group(named, dongle_a_id, dongle_b_id, now_ns)
        self.add(group)
        return group

    def _check_free(self, dongle_id: str) -> None:
        group = self.of_dongle(dongle_id)
        if group is not None:
            raise ApiError(
                409,
                "DONGLE_IN_GROUP",
                f"dongle {dongle_id!r} is in group {group.group_id!r}, and can be in one only; "
                f"DELETE /api/v1/groups/{group.group_id} first",
                {"dongle_id": dongle_id, "group_id": group.group_id},
            )

    def add(self, group: Group) -> None:
        """One that was formed before."""
        self._groups[group.group_id] = group
        self._group_of.update(dict.fromkeys(group.dongle_ids, group))

    def dissolve(self, group_id: str) -> Group:
        """The group is no more, its dongles are free. ApiError GROUP_NOT_FOUND."""
        group = self.group(group_id)
        del self._groups[group_id]
        for dongle_id in group.dongle_ids:
            del self._group_of[dongle_id]
        return group


def default_group_id(dongle_a_id: str, dongle_b_id: str, taken: Collection[str]) -> str:
    """An id that is not taken and says of which dongles it is, as far as there is room."""
    name = identifier_from(f"{dongle_a_id}-and-{dongle_b_id}")
    for number in count(1):
        end = "" if number == 1 else f"-{number}"
        found = name[: MAXIMUM_ID_LENGTH - len(end)] + end
        if found not in taken:
            return found
    raise AssertionError("numbers do not end")
