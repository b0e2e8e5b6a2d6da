"""The messages of one bus, of a file that describes several."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from can_stream.databases.findings import Findings
from can_stream.errors import DatabaseError

if TYPE_CHECKING:
    from cantools.database import Database
    from cantools.database.can import Message


def messages_of_bus(
    path: PurePath, database: Database, bus: str | None, findings: Findings
) -> tuple[Message, ...]:
    """Those of the bus of this name, all without a name. Raises DatabaseError where there is none."""
    messages = tuple(database.messages)
    names = list(dict.fromkeys(str(message.bus_name) for message in messages if message.bus_name))
    if bus is None:
        if len(names) > 1:
            findings.warn(
                1,
                "several_buses",
                f"it describes {len(names)} buses, {_listed(names)}: all are taken together, and of one id "
                "the last message is used; `--dbc-bus NAME`, or `bus` in `database_options`, chooses one",
            )
        return messages
    if not names:
        findings.warn(
            1, "several_buses", f"it names no bus, so that bus {bus!r} chooses nothing: all is used"
        )
        return messages
    if bus not in names:
        raise DatabaseError(path, 1, f"it has no bus {bus!r}: it describes {_listed(names)}")
    return tuple(message for message in messages if message.bus_name == bus)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (" and more" if len(names) > 20 else "")
