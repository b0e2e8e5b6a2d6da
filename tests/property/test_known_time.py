"""The clock that ages count on: whatever the wall clock does, and however often the server is restarted."""

from __future__ import annotations

from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_server.recording.known_time import (
    CONFIRMING_NS,
    JUMP_NS,
    KnownTime,
    Reading,
    advance,
    begin,
    confirm,
)

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS
START_NS: Final = 1_766_417_462 * SECOND_NS


class Machine:
    """A server's machine: how much time really passes, and what its clocks say."""

    def __init__(self, synchronised: bool = True) -> None:
        self.true_ns = START_NS
        self.wrong_by_ns = 0
        self.boot = 0
        self.running_ns = 5 * SECOND_NS
        self.synchronised = synchronised
        self.state = begin(self.reading(), START_NS)

    def reading(self) -> Reading:
        wall_ns = self.true_ns + self.wrong_by_ns
        return Reading(str(self.boot), self.running_ns, wall_ns, self.synchronised)

    def run(self, ns: int) -> None:
        self.true_ns += ns
        self.running_ns += ns

    def reboot(self, off_ns: int) -> None:
        self.true_ns += off_ns
        self.boot += 1
        self.running_ns = 2 * SECOND_NS

    def look(self, restarts: bool = False) -> KnownTime:
        if restarts:  # what is kept is what was stored
            self.state = msgspec.json.decode(msgspec.json.encode(self.state), type=KnownTime)
        self.state = advance(self.state, self.reading())
        return self.state


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["run", "reboot", "set"]),
            st.integers(0, 30 * DAY_NS),
            st.booleans(),
            st.booleans(),
        )
    )
)
def test_as_long_as_nobody_confirms_no_jump_makes_anything_older_than_it_is(
    steps: list[tuple[str, int, bool, bool]],
) -> None:
    machine = Machine(synchronised=False)
    allowed_ns = 0
    for kind, ns, ahead, restarts in steps:
        before = machine.state.known_ns
        if kind == "run":
            machine.run(ns)
            allowed_ns += ns
        elif kind == "reboot":
            machine.reboot(ns)
            # A wall clock within the hour is believed over a reboot.
            allowed_ns += JUMP_NS
        else:
            machine.wrong_by_ns = ns if ahead else -ns
        known = machine.look(restarts=restarts).known_ns
        assert before <= known <= START_NS + allowed_ns


@given(st.integers(JUMP_NS + 1, 40 * 365 * DAY_NS), st.booleans(), st.integers(1, 20))
def test_a_jump_is_told_stops_deletion_and_is_over_when_the_clock_is_back(
    jump_ns: int, ahead: bool, looks: int
) -> None:
    machine = Machine()
    machine.look()
    machine.synchronised = False
    machine.wrong_by_ns = jump_ns if ahead else -jump_ns
    for number in range(looks):
        machine.run(10 * SECOND_NS)
        assert machine.look(restarts=number % 3 == 0).jump_ns == machine.wrong_by_ns
    machine.wrong_by_ns = 0
    settled = machine.look()
    assert settled.jump_ns == 0
    assert settled.known_ns == machine.true_ns


@given(st.lists(st.integers(-(JUMP_NS // 2), JUMP_NS // 2), max_size=20))
def test_a_clock_that_wanders_less_is_followed_and_makes_nothing_older(steps_ns: list[int]) -> None:
    machine = Machine(synchronised=False)
    for step_ns in steps_ns:
        machine.run(10 * SECOND_NS)
        machine.wrong_by_ns += step_ns
        state = machine.look()
        assert state.jump_ns == 0
        assert state.known_ns == machine.true_ns


def off_for_two_days(trusted: bool) -> Machine:
    machine = Machine(synchronised=trusted)
    machine.look()
    machine.reboot(2 * DAY_NS)
    machine.synchronised = False
    assert machine.look().jump_ns > DAY_NS
    return machine


def test_two_days_off_count_once_a_time_service_has_kept_the_clock_for_ten_minutes() -> None:
    machine = off_for_two_days(trusted=True)
    machine.synchronised = True
    while machine.look(restarts=True).jump_ns:
        assert machine.state.known_ns < machine.true_ns - DAY_NS
        machine.run(10 * SECOND_NS)
    assert machine.running_ns >= CONFIRMING_NS
    assert abs(machine.state.known_ns - machine.true_ns) < 10 * SECOND_NS


def test_a_time_service_that_lets_go_or_jumps_again_has_to_begin_anew() -> None:
    machine = off_for_two_days(trusted=True)
    for disturbance in ("lets go", "jumps", "reboots"):
        machine.synchronised = True
        for _ in range(50):
            machine.run(10 * SECOND_NS)
            assert machine.look().jump_ns, disturbance
        if disturbance == "lets go":
            machine.synchronised = False
        elif disturbance == "jumps":
            machine.wrong_by_ns += 3 * DAY_NS
        else:
            machine.reboot(0)
        assert machine.look().jump_ns


def test_an_operator_confirms_at_once() -> None:
    machine = off_for_two_days(trusted=True)
    machine.state = confirm(machine.state, machine.reading())
    assert machine.state.jump_ns == 0
    assert abs(machine.state.known_ns - machine.true_ns) < 10 * SECOND_NS


def test_what_a_clock_jumps_that_was_never_right_is_not_time_that_has_passed() -> None:
    machine = Machine(synchronised=False)
    machine.wrong_by_ns = -50 * 365 * DAY_NS
    machine.state = begin(machine.reading(), START_NS)
    machine.run(60 * SECOND_NS)
    machine.look()
    machine.wrong_by_ns, machine.synchronised = 0, True
    for _ in range(100):
        machine.run(10 * SECOND_NS)
        machine.look()
    assert machine.state.jump_ns == 0
    assert machine.state.trusted
    assert machine.state.known_ns == START_NS + 1060 * SECOND_NS
