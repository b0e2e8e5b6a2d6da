"""A clock for ages that no jump of the wall clock moves. Pure.

It goes on with the time that the machine runs, and over a restart by as much as is known: in the same boot
exactly, in another by the wall clock, where that says less than an hour. A wall clock that is more than an
hour from where it should be has jumped. Nobody knows whether it was wrong before or is wrong now, so nothing
is deleted by age until it is back, a time service has kept it for ten minutes, or an operator confirms it.
What it jumped ahead then counts as time that has passed only if it was known to be right before.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

JUMP_NS: Final = 3_600_000_000_000
CONFIRMING_NS: Final = 600_000_000_000
_BEGINNING_NS: Final = 0


class Reading(NamedTuple):
    """What the machine's clocks say: `running_ns` counts within the boot `boot_id`, and never goes back."""

    boot_id: str
    running_ns: int
    wall_ns: int
    synchronised: bool


class KnownTime(msgspec.Struct, frozen=True):
    """Where the clock stands, to be kept over restarts.

    `known_ns` is the clock. `expected_ns` is what the wall clock must say; `jump_ns` how far it is from that,
    0 where it has not jumped. `trusted`: it was known to be right before. `kept_since_ns`: the moment of the
    boot from which on, after the jump, a time service keeps it.
    """

    known_ns: int
    boot_id: str
    running_ns: int
    expected_ns: int
    trusted: bool
    jump_ns: int = 0
    kept_since_ns: int | None = None


def begin(reading: Reading, known_ns: int = _BEGINNING_NS) -> KnownTime:
    """The clock of a recording that has none yet."""
    return KnownTime(known_ns, reading.boot_id, reading.running_ns, reading.wall_ns, reading.synchronised)


def advance(state: KnownTime, reading: Reading) -> KnownTime:
    """The clock now; never before where it stood."""
    same_boot = reading.boot_id == state.boot_id
    passed = max(0, reading.running_ns - state.running_ns) if same_boot else 0
    moved = msgspec.structs.replace(
        state,
        known_ns=state.known_ns + passed,
        boot_id=reading.boot_id,
        running_ns=reading.running_ns,
        expected_ns=state.expected_ns + passed,
        kept_since_ns=state.kept_since_ns if same_boot else None,
    )
    jump = reading.wall_ns - moved.expected_ns
    if abs(jump) > JUMP_NS:
        return _jumped(moved, reading, jump)
    away = jump if not same_boot else 0
    return msgspec.structs.replace(
        moved,
        known_ns=moved.known_ns + max(0, away),
        expected_ns=reading.wall_ns,
        trusted=state.trusted or reading.synchronised,
        jump_ns=0,
        kept_since_ns=None,
    )


def confirm(state: KnownTime, reading: Reading) -> KnownTime:
    """The wall clock is right now, says somebody who knows."""
    return _confirmed(advance(state, reading), reading)


def _jumped(moved: KnownTime, reading: Reading, jump: int) -> KnownTime:
    # Another jump while one is open: the time service has to keep it for ten minutes again.
    goes_on = moved.kept_since_ns is not None and abs(jump - moved.jump_ns) <= JUMP_NS
    since = moved.kept_since_ns if goes_on else reading.running_ns
    kept = msgspec.structs.replace(moved, jump_ns=jump, kept_since_ns=since if reading.synchronised else None)
    if kept.kept_since_ns is None or reading.running_ns - kept.kept_since_ns < CONFIRMING_NS:
        return kept
    return _confirmed(kept, reading)


def _confirmed(now: KnownTime, reading: Reading) -> KnownTime:
    passed = max(0, now.jump_ns) if now.trusted else 0
    return msgspec.structs.replace(
        now,
        known_ns=now.known_ns + passed,
        expected_ns=reading.wall_ns,
        trusted=True,
        jump_ns=0,
        kept_since_ns=None,
    )
