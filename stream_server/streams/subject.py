"""What a stream is about: a dongle, or the two of a group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Kind = Literal["dongle", "group"]
Summarise: TypeAlias = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
"""From the presence of each dongle, in their order, what `group_state` says."""


class StreamName(NamedTuple):
    """What a stream is known by: a group and a dongle may be called alike."""

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class Subject:
    """The dongles that a stream shows. `summarise`, of a group: what holds of it as a whole."""

    name: StreamName
    dongle_ids: tuple[str, ...]
    summarise: Summarise | None = None


def of_dongle(dongle_id: str) -> Subject:
    """One dongle by itself."""
    return Subject(StreamName("dongle", dongle_id), (dongle_id,))


def of_group(group_id: str, dongle_ids: tuple[str, ...], summarise: Summarise) -> Subject:
    """Several dongles as one."""
    return Subject(StreamName("group", group_id), dongle_ids, summarise)
