"""A direction's starts as a store writes and reads them. Values only, no storage. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from can_stream.lanes.intervals import IntervalSet
from stream_server.relay.line import Line, Row, hole
from stream_server.relay.stretches import Stretch, Stretches
from stream_server.relay.values import Changes, Deleted, StoredLine, StoredRow, StoredStretch


def add_changes(changes: Changes, line: Line, place: int, committed: Collection[int]) -> None:
    """What of a start is not in storage as it is here. `committed`: numbers of the packets that the same
    transaction stores; what has not come to that is a hole for whoever reads it after a crash."""
    rows = [row for row in line.unsaved.values() if row.is_stored or row.seq in committed]
    if not rows and not line.deleted and line.version == line.stored_version:
        return
    changes.deleted.extend(Deleted(line.start_id, *part) for part in line.deleted)
    changes.rows.extend(_stored_row(line.start_id, row) for row in rows)
    waiting = [row for row in line.unsaved.values() if not row.is_stored and row.seq not in committed]
    changes.lines.append(_stored_line(line, place, waiting))
    changes.versions[line.start_id] = line.version


def note_stored(line: Line, rows: Iterable[StoredRow], max_bytes: int) -> None:
    """These rows of it are committed."""
    for stored in rows:
        row = line.unsaved.get(stored.seq)
        if row is None:  # settled, or a count, since the transaction was made up
            line.deleted.add(stored.seq, stored.seq)
            continue
        if row.in_doubt == stored.in_doubt:
            del line.unsaved[stored.seq]
        if not row.is_stored and row.body is not None:
            line.kept_bytes += len(row.body)
        row.is_stored = True
        if row.first < line.handed or line.kept_bytes > max_bytes:
            line.drop_body(row)


def restored_line(stored: StoredLine, rows: Iterable[StoredRow], *, same_boot: bool) -> Line:
    """As it was. What was never said of it is a hole of unknown age."""
    line = Line(stored.start_id, stored.settled, stored.end, totals=stored.totals, marks=list(stored.marks))
    line.handed = line.aged = stored.settled
    line.exposed = stored.end
    line.stored_version = line.version
    line.stretches = Stretches()
    for one in stored.stretches:
        born_ns = one.born_ns if same_boot else None
        line.put(Stretch(one.first, one.through, one.frames, one.reason, born_ns, one.fresh, one.in_doubt))
    for row in rows:
        _put_row(line, row, row.born_ns if same_boot else None)
    for first, last in _uncovered(line):
        line.put(hole(first, last + 1, None, in_doubt=False))
    line.stored_version = line.version if same_boot else 0
    return line


def _put_row(line: Line, stored: StoredRow, born_ns: int | None) -> None:
    first, through = max(stored.position, line.settled), stored.position + stored.frames
    if first >= through:
        line.deleted.add(stored.seq, stored.seq)
        return
    row = Row(first, through, stored.seq, stored.position, born_ns, None, stored.own, False, stored.in_doubt)
    row.is_stored = True
    line.put_row(row)
    del line.unsaved[row.seq]


def _uncovered(line: Line) -> list[tuple[int, int]]:
    covered = IntervalSet()
    for one in line.stretches:
        covered.add(one.first, one.through - 1)
    for row in line.rows.values():
        covered.add(row.first, row.through - 1)
    return covered.missing(line.settled, line.end - 1)


def _stored_row(start_id: str, row: Row) -> StoredRow:
    frames = row.through - row.position
    return StoredRow(start_id, row.seq, row.position, frames, row.born_ns, row.own, row.in_doubt)


def _stored_line(line: Line, place: int, waiting: list[Row]) -> StoredLine:
    stretches = [
        StoredStretch(one.first, one.through, one.frames, one.reason, one.born_ns, one.fresh, one.in_doubt)
        for one in line.stretches
    ]
    stretches += [
        StoredStretch(
            row.first, row.through, row.through - row.first, "hole", row.born_ns, False, row.in_doubt
        )
        for row in waiting
    ]
    stretches.sort(key=lambda one: one.first)
    return StoredLine(line.start_id, place, line.settled, line.end, line.totals, stretches, list(line.marks))
