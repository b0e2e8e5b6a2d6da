"""Ages in SQL: where the known clock stands, and which packets were there at which of its times."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from stream_server.recording.known_time import KnownTime, Reading, begin
from stream_server.storage import kept_facts
from stream_server.storage.recording_schema import age_marks, packets

_SEEDS: Final = 500
_decoder: Final = msgspec.json.Decoder(KnownTime)


def load(connection: Connection, reading: Reading) -> KnownTime:
    """The known clock as it was stored last; begun where there is none, with marks for what is recorded."""
    text = kept_facts.get(connection, kept_facts.KNOWN_TIME)
    if text is not None:
        return _decoder.decode(text)
    last_ns = _seed(connection)
    if last_ns is None:
        return begin(reading, reading.wall_ns)
    # As if the server had ended with its last packet: what has passed since is counted as over any restart.
    return KnownTime(last_ns, "", 0, last_ns, trusted=False)


def store(connection: Connection, state: KnownTime) -> None:
    """Keep where the clock stands."""
    kept_facts.put(connection, kept_facts.KNOWN_TIME, msgspec.json.encode(state).decode())


def mark(connection: Connection, known_ns: int, spacing_ns: float) -> None:
    """All packets that are there were there at `known_ns`: said once some have come, and time has passed."""
    newest: int | None = connection.execute(select(func.max(packets.c.id))).scalar_one()
    last = connection.execute(select(age_marks).order_by(age_marks.c.packet_id.desc()).limit(1)).one_or_none()
    if newest is None or (
        last is not None and (last.packet_id >= newest or known_ns - last.known_ns < spacing_ns)
    ):
        return
    connection.execute(insert(age_marks).values(packet_id=newest, known_ns=known_ns))


def older_than(connection: Connection, known_ns: int) -> int:
    """The last packet that was there before `known_ns` for certain; 0 for none."""
    found: int | None = connection.execute(
        select(func.max(age_marks.c.packet_id)).where(age_marks.c.known_ns < known_ns)
    ).scalar_one()
    return found or 0


def forget(connection: Connection, through_id: int) -> None:
    """The packets up to this one are deleted: nobody asks for their age again."""
    connection.execute(delete(age_marks).where(age_marks.c.packet_id <= through_id))


def take_confirmation(connection: Connection) -> int | None:
    """What the wall clock said when an operator called it right, ns; once."""
    text = kept_facts.get(connection, kept_facts.CLOCK_CONFIRMED)
    if text is None:
        return None
    kept_facts.remove(connection, kept_facts.CLOCK_CONFIRMED)
    return int(text)


def _seed(connection: Connection) -> int | None:
    """Marks for a recording of before, by times of receipt; the newest of these, None where it is empty."""
    first, last = connection.execute(select(func.min(packets.c.id), func.max(packets.c.id))).one()
    if first is None:
        return None
    latest = 0
    for part in range(_SEEDS + 1):
        wanted = first + (last - first) * part // _SEEDS
        query = select(packets.c.id, packets.c.received_ns).where(packets.c.id >= wanted)
        row = connection.execute(query.order_by(packets.c.id).limit(1)).one()
        # A clock that was set back makes nothing older than what came before it.
        latest = max(latest, row.received_ns)
        known = connection.execute(select(age_marks).where(age_marks.c.packet_id == row.id)).one_or_none()
        if known is None:
            connection.execute(insert(age_marks).values(packet_id=row.id, known_ns=latest))
    return latest
