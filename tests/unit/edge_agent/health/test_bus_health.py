"""How a CAN interface stands: each fault named with its remedy, once, and cleared when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from can_stream.frames.batches import FrameBatch
from edge_agent.bus.source import Dropped, Item
from edge_agent.config.can_settings import CanSettings
from edge_agent.config.dongle import DongleSection
from edge_agent.errors import SourceError
from edge_agent.health.bus_health import HOLD_SECONDS, BusHealth
from edge_agent.health.bus_monitor import BusMonitor
from edge_agent.host.can_link import CanLink
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from tests.helpers.can_links import controller_link, virtual_link
from tests.helpers.error_frames import (
    ACTIVE,
    BUS_OFF,
    CANH_LOOSE,
    LOST_ARBITRATION,
    NO_ACK,
    NO_ACK_SLOT,
    OVERFLOW,
    PASSIVE,
    RESTARTED,
    STUFFING,
    TX_TIMEOUT,
    WARNING,
    Error,
    errors,
)

READING = State(StatusCode.OK, "reading socketcan can0")
LISTENING = State(StatusCode.OK, "reading socketcan can0, 500000 bit/s, listen-only")
LISTEN_ONLY = 2
LOOPBACK = 1
FD = 0x20


def reading(has_kernel_filters: bool = False, **settings: Any) -> BusHealth:
    """Health of can0, which is read."""
    health = BusHealth(CanSettings("can0", **settings), has_kernel_filters)
    health.take_source(READING, 0.0)
    return health


def listener(**changes: Any) -> CanLink:
    return controller_link(**{"modes": LISTEN_ONLY, **changes})


def fault_of(health: BusHealth, now_seconds: float = 0.0) -> tuple[StatusCode, str]:
    state = health.state(now_seconds)
    return state.code, state.fault


def test_a_bus_that_is_read_stands_as_its_reader_says() -> None:
    health = reading(bitrate=500_000)
    assert health.state(0.0) == READING
    health.take_link(virtual_link(), 0, 0.0)
    assert health.state(0.0) == READING


def test_the_effective_settings_are_told() -> None:
    health = reading(fd=True)
    health.take_link(listener(modes=LISTEN_ONLY | FD, data_bitrate=2_000_000), 0, 0.0)
    message = "reading socketcan can0, 500000 bit/s and 2000000 bit/s, listen-only"
    assert health.state(0.0) == State(StatusCode.OK, message)


def test_a_bus_that_cannot_be_read_stands_as_its_reader_says_whatever_was_before() -> None:
    health = reading()
    health.take_frames(errors(BUS_OFF), 0.0)
    down = State(StatusCode.FAILED, "can0 is down", "down")
    health.take_source(down, 0.0)
    assert health.state(0.0) == down
    health.take_link(controller_link(state="bus-off"), 0, 0.0)
    assert health.state(0.0) == down
    health.take_source(READING, 0.0)
    assert health.state(0.0) == READING


@pytest.mark.parametrize(
    ("error", "code", "fault", "remedy"),
    [
        (BUS_OFF, StatusCode.FAILED, "bus_off", "termination"),
        (PASSIVE, StatusCode.DEGRADED, "error_passive", "termination"),
        (WARNING, StatusCode.DEGRADED, "error_warning", "wiring"),
        (OVERFLOW, StatusCode.DEGRADED, "overrun", "faster adapter"),
        (NO_ACK, StatusCode.DEGRADED, "no_ack", "another node"),
        (NO_ACK_SLOT, StatusCode.DEGRADED, "no_ack", "another node"),
        (TX_TIMEOUT, StatusCode.DEGRADED, "tx_timeout", "another node"),
        (STUFFING, StatusCode.DEGRADED, "bus_errors", "bit rate"),
        (CANH_LOOSE, StatusCode.DEGRADED, "wiring", "CANH has no contact"),
        (LOST_ARBITRATION, StatusCode.OK, "", "reading"),
    ],
)
def test_each_error_frame_is_named_with_its_remedy(
    error: Error, code: StatusCode, fault: str, remedy: str
) -> None:
    health = reading()
    health.take_frames(errors(None, error), 0.0)
    assert fault_of(health) == (code, fault)
    assert "can0" in health.state(0.0).message
    assert remedy in health.state(0.0).message


def test_the_worst_fault_is_named_and_all_are_told() -> None:
    health = reading()
    health.take_frames(errors(STUFFING, OVERFLOW, BUS_OFF), 0.0)
    state = health.state(0.0)
    assert state.fault == "bus_off"
    assert state.message.endswith("; also: overrun, bus_errors")


def test_errors_are_counted_by_class_since_the_start() -> None:
    health = reading()
    health.take_frames(errors(STUFFING, STUFFING, OVERFLOW), 0.0)
    health.take_source(State(StatusCode.FAILED, "gone", "unplugged"), 0.0)
    health.take_source(READING, 0.0)
    health.take_frames(errors(None, BUS_OFF), 0.0)
    metrics = health.metrics()
    assert metrics["error_frames"] == 4
    assert (metrics["error_frames_bus_error"], metrics["error_frames_bus_off"]) == (2, 1)
    assert metrics["controller_overruns"] == 1


@pytest.mark.parametrize("over", [(RESTARTED,), (ACTIVE,), (None,), (STUFFING, None)])
def test_a_virtual_bus_is_not_bus_off_any_more_when_a_frame_says_so(over: tuple[Error | None, ...]) -> None:
    health = reading()
    health.take_link(virtual_link(), 0, 0.0)
    health.take_frames(errors(BUS_OFF), 0.0)
    assert fault_of(health, 1000.0) == (StatusCode.FAILED, "bus_off")
    health.take_frames(errors(*over), 1000.0)
    assert "has started again" in health.state(1000.0).message
    assert fault_of(health, 1000.0 + HOLD_SECONDS) == (StatusCode.OK, "")


def test_states_of_the_controller_do_not_flap() -> None:
    health = reading()
    for now_seconds in range(0, 20, 2):
        health.take_link(
            listener(state="error-warning" if now_seconds % 4 else "error-passive"), 0, now_seconds
        )
        assert health.state(now_seconds).fault == "error_passive"
    health.take_link(listener(), 0, 20.0)
    assert health.state(20.0).fault == "error_passive"
    assert health.state(25.0) == LISTENING


def test_bus_off_is_told_from_the_interface_alone_with_what_to_do() -> None:
    health = reading(listen_only=False, restart_ms=0)
    health.take_link(controller_link(state="bus-off", restart_ms=0), 0, 0.0)
    state = health.state(0.0)
    assert state.code is StatusCode.FAILED
    assert state.message.startswith("bus-off on can0: restart-ms is 0, set `restart_seconds`, or run")
    health.take_link(controller_link(state="bus-off", restart_ms=100), 0, 2.0)
    assert "bus-off on can0: it starts again after 100 ms" in health.state(2.0).message


def test_a_bus_off_between_two_looks_is_told_too() -> None:
    health = reading(listen_only=False)
    health.take_link(controller_link(statistics=(0, 0, 0, 3, 0, 3)), 0, 0.0)
    health.take_link(controller_link(statistics=(0, 0, 0, 4, 0, 4)), 0, 2.0)
    assert fault_of(health, 2.0) == (StatusCode.FAILED, "bus_off")
    assert health.metrics()["bus_offs"] == 4
    assert fault_of(health, 2.0 + HOLD_SECONDS) == (StatusCode.OK, "")


@pytest.mark.parametrize(
    ("settings", "link", "fault", "remedy"),
    [
        (
            {"bitrate": 500_000},
            {"bitrate": 250_000, "modes": LISTEN_ONLY},
            "wrong_bitrate",
            "can0 down; sudo ip link set can0 up type can bitrate 500000 listen-only on`",
        ),
        (
            {"fd": True, "data_bitrate": 4_000_000},
            {"modes": LISTEN_ONLY | FD, "data_bitrate": 2_000_000},
            "wrong_bitrate",
            "bitrate 500000 dbitrate 4000000 fd on listen-only on",
        ),
        ({}, {"modes": 0}, "wrong_mode", 'listen-only on`, or set `mode = "normal"`'),
        ({"listen_only": False}, {"modes": LISTEN_ONLY}, "wrong_mode", "listen-only off"),
        ({}, {"modes": LISTEN_ONLY | FD, "data_bitrate": 2_000_000}, "fd_mismatch", "fd off"),
    ],
)
def test_settings_that_are_not_those_of_the_configuration_are_named(
    settings: dict[str, Any], link: dict[str, Any], fault: str, remedy: str
) -> None:
    health = reading(**settings)
    health.take_link(controller_link(**link), 0, 0.0)
    assert fault_of(health) == (StatusCode.DEGRADED, fault)
    assert remedy in health.state(0.0).message


def test_virtual_buses_have_no_settings_that_could_be_wrong() -> None:
    health = reading(bitrate=500_000)
    health.take_link(virtual_link(mtu=72), 0, 0.0)
    assert health.state(0.0) == READING


def test_the_settings_as_they_are_stand_in_the_metrics() -> None:
    health = reading()
    health.take_link(listener(berr=(3, 120), state="error-warning", restart_ms=100), 0, 0.0)
    metrics = health.metrics()
    assert (metrics["bitrate"], metrics["sample_point_permille"], metrics["mode"]) == (
        500_000,
        875,
        "listen_only",
    )
    assert (metrics["controller_state"], metrics["restart_ms"], metrics["fd"]) == (
        "error-warning",
        100,
        False,
    )
    assert (metrics["tx_error_counter"], metrics["rx_error_counter"], metrics["is_up"]) == (3, 120, True)
    assert "data_bitrate" not in metrics
    health.take_link(controller_link(modes=LOOPBACK), 0, 2.0)
    assert health.metrics()["mode"] == "loopback"
    health.take_link(virtual_link(), 0, 4.0)
    assert "mode" not in health.metrics()


def test_errors_and_nothing_else_mean_that_the_bit_rate_is_wrong() -> None:
    health = reading()
    health.take_link(listener(statistics=(10, 0, 0, 0, 0, 0)), 0, 0.0)
    health.take_link(listener(statistics=(90, 0, 0, 0, 0, 0)), 0, 1.0)
    assert health.state(1.0).fault == "bus_errors"
    health.take_link(listener(statistics=(90, 0, 0, 0, 0, 0)), 0, 2.0)
    assert health.state(2.0).fault == "wrong_bitrate"
    assert "hears only errors and no frame" in health.state(2.0).message
    health.take_frames(errors(None), 3.0)
    health.take_link(listener(statistics=(95, 0, 0, 0, 0, 0)), 1, 10.0)
    assert health.state(10.0).fault == "bus_errors"


def test_error_frames_alone_mean_it_too_but_few_of_them_nothing() -> None:
    health = reading()
    health.take_link(listener(), 0, 0.0)
    health.take_frames(errors(*[STUFFING] * 9), 1.0)
    health.take_link(listener(), 9, 4.0)
    assert health.state(4.0).fault == "bus_errors"
    health.take_frames(errors(STUFFING), 5.0)
    health.take_link(listener(), 10, 6.0)
    assert health.state(6.0).fault == "wrong_bitrate"


def overruns(health: BusHealth, now_seconds: float, **counters: int) -> int:
    return health.take_link(listener(counters=counters), 0, now_seconds)[0]


def test_an_overrun_that_frame_and_counter_tell_is_one() -> None:
    health = reading()
    assert overruns(health, 0.0, rx_over_errors=7) == 0
    assert health.take_frames(errors(OVERFLOW, OVERFLOW), 1.0)[1]
    assert overruns(health, 2.0, rx_over_errors=9) == 0
    assert overruns(health, 4.0, rx_over_errors=10) == 1
    _, is_new = health.take_frames(errors(OVERFLOW), 5.0)
    assert not is_new
    assert health.metrics()["controller_overruns"] == 3
    assert health.state(5.0).fault == "overrun"
    assert health.state(5.0 + HOLD_SECONDS) == LISTENING


def test_what_the_driver_lost_is_told_by_its_counters_alone() -> None:
    health = reading()
    overruns(health, 0.0)
    assert overruns(health, 2.0, rx_fifo_errors=2, rx_dropped=2) == 2
    assert overruns(health, 4.0, rx_fifo_errors=2, rx_missed_errors=1, rx_dropped=5) == 3
    assert health.metrics()["driver_overruns"] == 5
    assert health.state(4.0).fault == "overrun"


def test_frames_dropped_on_their_way_are_told() -> None:
    health = reading()
    health.take_loss(0.0)
    assert fault_of(health) == (StatusCode.DEGRADED, "dropped")
    assert "net.core.rmem_max" in health.state(0.0).message


def looks(health: BusHealth, *polls: tuple[int, int], fd: bool = False) -> list[SourceError | None]:
    """What polls 2 s apart, of (frames received by the interface, frames seen by us), lead to."""
    mtu = 72 if fd else 16
    return [
        health.take_link(virtual_link({"rx_packets": received}, mtu=mtu), seen, 2.0 * number)[1]
        for number, (received, seen) in enumerate(polls)
    ]


def test_an_interface_that_receives_while_its_socket_does_not_is_opened_again() -> None:
    *before, failure = looks(reading(), (5, 5), (6, 5), (9, 5))
    assert before == [None, None]
    assert failure is not None
    assert (failure.code, failure.fault) == ("DEAD", "dead_driver")
    assert "none has come to the agent" in str(failure)


def test_a_driver_that_was_dead_is_remembered_for_a_while() -> None:
    health = reading()
    health.take_source(State(StatusCode.FAILED, "can0 is deaf", "dead_driver"), 0.0)
    health.take_source(READING, 1.0)
    assert fault_of(health, 1.0) == (StatusCode.DEGRADED, "dead_driver")
    assert "works again" in health.state(1.0).message
    assert health.state(1.0 + HOLD_SECONDS) == READING


@pytest.mark.parametrize(
    "polls",
    [
        [(5, 5), (5, 5), (5, 5), (5, 5)],
        [(5, 5), (6, 5), (7, 6), (8, 7), (9, 8)],
        [(5, 0), (5, 0), (6, 1), (6, 1)],
    ],
)
def test_a_silent_bus_and_one_whose_frames_are_on_their_way_are_no_fault(
    polls: list[tuple[int, int]],
) -> None:
    assert set(looks(reading(), *polls)) == {None}


def test_a_socket_that_is_not_to_get_every_frame_is_not_judged() -> None:
    polls = [(5, 5), (6, 5), (9, 5), (12, 5)]
    assert set(looks(reading(has_kernel_filters=True), *polls)) == {None}
    assert set(looks(reading(), *polls, fd=True)) == {None}
    assert set(looks(reading(fd=True), *polls, fd=True)) != {None}


def test_an_interface_replaced_under_its_name_is_opened_again() -> None:
    health = reading()
    assert health.take_link(virtual_link(index=3), 0, 0.0) == (0, None)
    for link in (virtual_link(index=4), None):
        health.take_source(READING, 0.0)
        health.take_link(virtual_link(index=3), 0, 0.0)
        _, failure = health.take_link(link, 0, 2.0)
        assert failure is not None
        assert failure.fault == "unplugged"
    health.take_source(READING, 0.0)
    assert health.take_link(virtual_link(index=4), 0, 4.0) == (0, None)


class FixedClock(Clock):
    seconds = 0.0

    def monotonic_seconds(self) -> float:
        return self.seconds


def monitor(told: list[State], **section: Any) -> BusMonitor:
    return BusMonitor(
        DongleSection("can0", id="van7-can0", **section), FixedClock().monotonic_seconds, told.append
    )


def test_each_change_is_told_once() -> None:
    told: list[State] = []
    bus = monitor(told)
    bus.take_source(READING)
    for _ in range(3):
        list(bus.take_item(errors(None, WARNING)))
        bus.look()
    list(bus.take_item(errors(BUS_OFF)))
    assert [state.fault for state in told] == ["", "error_warning", "bus_off"]
    assert bus.metrics["fault"] == "bus_off"


def test_an_overrun_stands_as_a_loss_in_its_place() -> None:
    bus = monitor([])
    bus.take_source(READING)
    batch = errors(None, OVERFLOW, None, OVERFLOW, None)
    first, loss, rest = bus.take_item(batch)
    assert isinstance(first, FrameBatch)
    assert isinstance(rest, FrameBatch)
    assert first.equals(batch[:2])
    assert rest.equals(batch[2:])
    assert loss == Dropped(None, 2_000_000, 4_000_000)


def test_trouble_has_the_kernel_asked_at_once() -> None:
    asked: list[bool] = []
    bus = monitor([])
    bus.on_trouble = lambda: asked.append(True)
    list(bus.take_item(errors(None)))
    assert not asked
    list(bus.take_item(errors(STUFFING)))
    assert asked


def test_what_is_no_kernel_interface_stands_as_its_reader_says() -> None:
    told: list[State] = []
    bus = monitor(told, interface="slcan", bitrate=500_000)
    failed = State(StatusCode.FAILED, "gone", "unplugged")
    bus.take_source(failed)
    items: list[Item] = [errors(BUS_OFF), Dropped(3, 0, 1)]
    assert [part for item in items for part in bus.take_item(item)] == items
    assert (told, bus.metrics) == ([failed], {"fault": "unplugged"})
