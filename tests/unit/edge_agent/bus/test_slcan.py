"""The slcan source: what an odd adapter leads to at set-up, and what its answers tell while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from can_stream.frames.batches import FrameBatch
from edge_agent.bus.slcan import SlcanBus
from edge_agent.bus.source import Dropped, Item
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from tests.helpers.agent_parts import slcan_section
from tests.helpers.lawicel import LawicelAdapter

Plug = Callable[..., LawicelAdapter]
# Of an answer to F.
QUEUE_FULL, CANNOT_SEND, WARNING, OVERRUN, PASSIVE, ARBITRATION, BUS_ERROR = 1, 2, 4, 8, 32, 64, 128


class HastyClock(Clock):
    """Sleeps by going ahead, and goes ahead when the test says so."""

    def __init__(self) -> None:
        self.ahead_ns = 0
        self.slept_seconds = 0.0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns

    def sleep(self, seconds: float) -> None:
        self.slept_seconds += seconds
        self.ahead(seconds)

    def ahead(self, seconds: float) -> None:
        self.ahead_ns += int(seconds * 1e9)


@pytest.fixture
def plug() -> Iterator[Plug]:
    with ExitStack() as plugged:
        yield lambda **wrong: plugged.enter_context(LawicelAdapter(**wrong))


def items_until(source: SlcanBus, done: Callable[[list[Item | State]], object]) -> list[Item | State]:
    """What was read once that is enough."""
    items: list[Item | State] = []
    for _ in range(600):
        if done(items):
            return items
        items += source.read(0.05)
    raise AssertionError(f"not what was waited for: {items}")


def has_frames(count: int) -> Callable[[list[Item | State]], bool]:
    return lambda items: sum(len(item) for item in items if isinstance(item, FrameBatch)) >= count


def answered(source: SlcanBus, adapter: LawicelAdapter, clock: HastyClock, flags: int) -> list[Item | State]:
    """The adapter is asked how it stands, and has said these."""
    adapter.flags = flags
    clock.ahead(3.0)
    asked = adapter.commands.count("F")
    items = items_until(source, lambda _: adapter.commands.count("F") > asked)
    adapter.send(b"t0000\r")  # behind the answer
    return items + items_until(source, has_frames(1))


# -- set-up


@pytest.mark.parametrize("refuses", ["S", "L"])
def test_a_port_is_free_again_where_the_adapter_refuses(plug: Plug, refuses: str) -> None:
    adapter = plug(refuses=refuses)
    for _ in range(2):
        with pytest.raises(SourceError) as refused:
            SlcanBus(slcan_section(adapter.path))
        assert refused.value.code != "BUSY"
        assert "refuses" in refused.value.reason
        assert adapter.path in refused.value.reason
    adapter.refuses = ""
    SlcanBus(slcan_section(adapter.path)).close()


def test_frames_of_a_bus_that_is_open_already_do_not_answer_for_the_adapter(plug: Plug) -> None:
    adapter = plug(refuses="L")
    adapter.send(b"t0010\rt0020\r" * 20)  # it was left open by another program
    with pytest.raises(SourceError) as refused:
        SlcanBus(slcan_section(adapter.path))
    assert refused.value.code == "NO_LISTEN_ONLY"


def test_what_an_adapter_says_of_itself_is_said(plug: Plug) -> None:
    full, little = plug(), plug(refuses="VN")
    for adapter, more in ((full, ", version 1013, serial number A12F"), (little, "")):
        with closing(SlcanBus(slcan_section(adapter.path))) as source:
            assert source.info == f"slcan {adapter.path}{more}; frames have the time at which they are read"


@pytest.mark.parametrize("mode", ["normal", "listen_only"])
def test_a_mute_adapter_that_should_only_listen_may_not_know_how_to(plug: Plug, mode: str) -> None:
    adapter, clock = plug(mute=True), HastyClock()
    with closing(SlcanBus(slcan_section(adapter.path, mode=mode), clock)) as source:
        assert "which acknowledges nothing" in source.info
        assert ("it may not know how to listen only" in source.info) == (mode == "listen_only")
    assert clock.slept_seconds == 0, "it has never answered, so it is not waited for"


def test_an_adapter_that_has_answered_is_given_the_time_to_restart(plug: Plug) -> None:
    adapter, clock, known = plug(mute=True), HastyClock(), set[str]()
    known.add(adapter.path)
    with pytest.raises(SourceError) as dead:
        SlcanBus(slcan_section(adapter.path), clock, known)
    assert (dead.value.code, clock.slept_seconds) == ("DEAD", 2.0)
    adapter.mute = False
    SlcanBus(slcan_section(adapter.path), clock, known).close()
    assert clock.slept_seconds == 2.0


def test_a_mute_adapter_that_sends_frames_is_not_set_up_again(plug: Plug) -> None:
    adapter, clock = plug(mute=True), HastyClock()
    with closing(SlcanBus(slcan_section(adapter.path), clock)) as source:
        adapter.send(b"t0010\r")
        items_until(source, has_frames(1))
        before = adapter.commands.count("L")
        clock.ahead(60.0)
        assert source.read(0.0) == []
        adapter.send(b"t0010\r")
        items_until(source, has_frames(1))
        assert adapter.commands.count("L") == before, "it would stop the frames for a moment"


# -- what it tells


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (QUEUE_FULL | PASSIVE | BUS_ERROR, "overrun"),
        (OVERRUN, "overrun"),
        (PASSIVE | WARNING, "error_passive"),
        (WARNING | BUS_ERROR, "error_warning"),
        (BUS_ERROR, "bus_errors"),
        (CANNOT_SEND, "no_ack"),
    ],
)
def test_the_worst_that_it_tells_is_the_fault_until_it_is_over(plug: Plug, flags: int, fault: str) -> None:
    adapter, clock = plug(), HastyClock()
    with closing(SlcanBus(slcan_section(adapter.path), clock)) as source:
        answered(source, adapter, clock, 0)
        (degraded,) = states(answered(source, adapter, clock, flags))
        assert (degraded.code, degraded.fault) == (StatusCode.DEGRADED, fault)
        assert degraded.message.startswith(f"{adapter.path}: ")
        assert states(answered(source, adapter, clock, flags)) == [], "it is said once"
        assert states(answered(source, adapter, clock, ARBITRATION)) == [
            State(StatusCode.OK, f"reading {source.info}")
        ]


def states(items: list[Item | State]) -> list[State]:
    return [item for item in items if isinstance(item, State)]


def losses(items: list[Item | State]) -> list[Dropped]:
    return [item for item in items if isinstance(item, Dropped)]


def test_each_answer_that_tells_of_a_loss_is_one_since_the_answer_before(plug: Plug) -> None:
    adapter, clock = plug(), HastyClock()
    with closing(SlcanBus(slcan_section(adapter.path), clock)) as source:
        answered(source, adapter, clock, 0)
        found = [losses(answered(source, adapter, clock, flags)) for flags in (QUEUE_FULL, OVERRUN, 0)]
    (first,), (second,), none = found
    assert none == []
    assert first.first_ns < first.last_ns == second.first_ns < second.last_ns
    assert (first.frames, first.place) == (None, "driver")


def test_a_loss_stands_behind_the_frames_that_came_before_the_answer(plug: Plug) -> None:
    adapter, clock = plug(flags=QUEUE_FULL), HastyClock()
    with closing(SlcanBus(slcan_section(adapter.path), clock)) as source:
        clock.ahead(3.0)
        adapter.send(b"t0010\r")
        items = items_until(source, losses)
    frames_at = next(at for at, item in enumerate(items) if isinstance(item, FrameBatch))
    assert frames_at < items.index(losses(items)[0])


# -- noise


def test_noise_between_frames_never_adds_up_to_a_failure(plug: Plug) -> None:
    adapter = plug(flags=None)
    with closing(SlcanBus(slcan_section(adapter.path))) as source:
        for _ in range(4):
            adapter.send(b"?" * 3000 + b"\rt0010\r")
            items_until(source, has_frames(1))
        assert source.malformed == 4


def test_noise_alone_is_a_failure_that_says_what_to_set(plug: Plug) -> None:
    section: dict[str, Any] = {"options": {"serial_baudrate": 57_600}}
    adapter = plug(flags=None)
    with closing(SlcanBus(slcan_section(adapter.path, **section))) as source:
        adapter.send(b"?" * 2500 + b"\r")
        items_until(source, lambda _: source.malformed == 1)
        adapter.send(b"?" * 2500 + b"\r")
        (state,) = states_in(items_until(source, states_in))
        assert (state.code, state.fault) == (StatusCode.FAILED, "garbage")
        assert "says at 57600 baud is not slcan, for example `????" in state.message
        assert "set `options.serial_baudrate` (now 57600) to the adapter's" in state.message
        adapter.send(b"t0010\r")
        assert states_in(items_until(source, states_in))[0].code == StatusCode.OK


def test_an_adapter_whose_words_made_no_sense_is_set_up_again(plug: Plug) -> None:
    adapter, clock = plug(flags=None), HastyClock()
    with closing(SlcanBus(slcan_section(adapter.path), clock)) as source:
        adapter.send(b"ets Jul 29 2019 12:21:46\r\n" * 200)
        assert states_in(items_until(source, states_in))[0].fault == "garbage"
        opened = adapter.commands.count("L")
        clock.ahead(11.0)
        source.read(0.05)
        assert adapter.commands.count("L") > opened


def test_lines_that_cannot_be_read_are_a_fault_with_an_example_until_they_are_over(plug: Plug) -> None:
    adapter, clock = plug(flags=None), HastyClock()
    with closing(SlcanBus(slcan_section(adapter.path), clock)) as source:
        items: list[Item | State] = []
        while not states_in(items):
            adapter.send(b"t0010\r" * 90 + b"t12Z8AABB\r" * 10)
            items = items_until(source, has_frames(90))
            clock.ahead(2.0)
            items += source.read(0.0)
        (state,) = states_in(items)
        assert (state.code, state.fault) == (StatusCode.DEGRADED, "unreadable")
        assert f"lines from {adapter.path} cannot be read, for example `t12Z8AABB`: it looks" in state.message
        assert state.message.startswith("10 of 10")
        assert source.malformed in (20, 30)
        assert source.malformed_example == "`t12Z8AABB`"
        items = []
        while not states_in(items):
            clock.ahead(2.0)
            items = source.read(0.0)
        assert states_in(items)[0].code == StatusCode.OK


def test_what_the_kernels_slcan_reads_beside_frames_is_understood(plug: Plug) -> None:
    adapter = plug(flags=None)
    with closing(SlcanBus(slcan_section(adapter.path))) as source:
        for line, code, fault in (
            (b"sp130120", StatusCode.DEGRADED, "error_passive"),
            (b"sb256256", StatusCode.FAILED, "bus_off"),
            (b"sw096000", StatusCode.DEGRADED, "error_warning"),
            (b"sa000000", StatusCode.OK, ""),
        ):
            adapter.send(line + b"\r")
            (state,) = states_in(items_until(source, states_in))
            assert (state.code, state.fault) == (code, fault)
        for line in (b"e1o", b"OVF", b"e3bcO", b"e1a", b"L27", b"t0010"):
            adapter.send(line + b"\r")
        items = items_until(source, has_frames(1))
        assert [item.frames for item in items if isinstance(item, Dropped)] == [None, None]
        assert source.malformed == 0


def states_in(items: list[Item | State]) -> list[State]:
    return [item for item in items if isinstance(item, State)]
