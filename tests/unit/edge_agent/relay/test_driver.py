"""What is known of a driver, and whether more may go in."""

from __future__ import annotations

from can_stream.frames.batches import FrameFlag, batch_of
from can_stream.protocol.control import Confirms
from edge_agent.relay.burst import Burst, Cut, frame_keys
from edge_agent.relay.driver import Driver
from edge_agent.relay.record import MAX_BURST


def burst(*ids: int, confirms: Confirms = "bus") -> Burst:
    frames = batch_of([(0, one, 0, 1, b"\1") for one in ids])
    cut = Cut(frames, list(range(len(ids))), [0] * len(ids), len(ids), [])
    return Burst("van-can0", "00" * 8, cut, confirms, 5_000)


def key(arbitration_id: int) -> bytes:
    return frame_keys(batch_of([(0, arbitration_id, 0, 1, b"\1")]))[0]


def trusted() -> Driver:
    driver = Driver()
    driver.emptied()
    driver.open(burst(1))
    assert driver.echo(key(1)) == 0
    driver.confirmed()
    return driver


def lost(driver: Driver, *ids: int) -> int:
    driver.open(burst(*ids))
    return driver.give_up()


def test_one_frame_until_an_echo_has_come_and_one_burst_at_a_time() -> None:
    driver = Driver()
    driver.emptied()
    assert (driver.limit, driver.takes(can_probe=False)) == (1, True)
    driver.open(burst(1))
    assert not driver.takes(can_probe=True)
    assert driver.echo(key(9)) is None
    driver.echo(key(1))
    driver.confirmed()
    assert (driver.limit, driver.takes(can_probe=False)) == (MAX_BURST, True)


def test_after_an_echo_that_has_not_come_it_must_be_empty_first() -> None:
    driver = trusted()
    assert lost(driver, 1, 2, 3) == 3
    assert (driver.must_empty, driver.limit, driver.takes(can_probe=False)) == (True, 1, False)
    driver.emptied()
    assert (driver.must_empty, driver.limit, driver.takes(can_probe=False)) == (False, 1, True)


def test_when_all_that_was_given_up_has_come_out_it_is_empty() -> None:
    driver = trusted()
    driver.open(burst(1, 2, 3))
    driver.echo(key(1))
    assert driver.give_up() == 2
    assert (driver.echo(key(2)), driver.must_empty) == (-1, True)
    assert (driver.echo(key(3)), driver.must_empty) == (-1, False)
    assert (driver.echo(key(3)), driver.limit) == (None, 1)


def test_one_frame_finds_out_and_when_it_is_silent_too_no_second_does() -> None:
    driver = trusted()
    lost(driver, 1, 2)
    assert (driver.takes(can_probe=True), driver.limit) == (True, 1)
    lost(driver, 3)
    assert not driver.takes(can_probe=True)
    driver.echo(key(1))
    assert not driver.takes(can_probe=True)
    driver.echo(key(2))
    driver.echo(key(3))
    assert driver.takes(can_probe=False)


def test_the_echo_of_the_one_frame_says_that_what_was_before_it_is_out() -> None:
    driver = trusted()
    lost(driver, 1, 2)
    driver.open(burst(3))
    assert driver.echo(key(3)) == 0
    driver.confirmed()
    assert (driver.must_empty, driver.limit, driver.echo(key(1))) == (False, MAX_BURST, None)


def test_what_a_killed_process_has_left_may_be_inside() -> None:
    driver = Driver()
    assert (driver.takes(can_probe=False), driver.takes(can_probe=True), driver.limit) == (False, True, 1)


def test_an_adapter_that_answers_late_is_empty_then_and_no_driver_that_only_took_it() -> None:
    adapter = trusted()
    adapter.open(burst(1, 2, confirms="adapter"))
    adapter.give_up()
    found = []
    for _ in range(2):
        adapter.took_late(1)
        found.append(adapter.must_empty)
    assert found == [True, False]
    kernel = trusted()
    lost(kernel, 1)
    kernel.took_late(1)
    assert kernel.must_empty


def late(driver: Driver, *ids: int) -> list[bool]:
    """Which of these frames, read as if they were others', are own ones."""
    frames = batch_of([(0, one, 0, 1, b"\1") for one in ids])
    return [bool(flags & FrameFlag.TX) for flags in driver.late.marked(frames, 0).flags.tolist()]


def test_what_an_earlier_opening_has_taken_comes_out_unmarked_and_proves_nothing() -> None:
    driver = trusted()
    lost(driver, 1, 2)
    assert late(driver, 1, 2) == [False, False]  # others', for its own are marked
    driver.reopened()
    driver.open(burst(3))
    assert late(driver, 1, 3) == [True, False]
    assert driver.echo(key(2)) is None
    assert (driver.must_empty, driver.has_left) == (True, True)
    driver.echo(key(3))
    driver.confirmed()  # a driver keeps the order
    assert (driver.must_empty, driver.has_left) == (False, False)


def test_a_burst_that_is_open_as_the_bus_is_opened_again_is_given_up_and_known() -> None:
    driver = trusted()
    driver.open(burst(1, 2, 3))
    driver.echo(key(1))
    driver.reopened()
    abandoned = [driver.is_abandoned]
    assert driver.give_up() == 2
    assert [*abandoned, driver.is_abandoned] == [True, False]
    assert late(driver, 1, 2, 3, 3) == [False, True, True, False]


def test_what_confirms_by_its_queue_has_given_all_back_before_it_is_opened_again() -> None:
    driver = trusted()
    driver.open(burst(1, confirms="queue"))
    driver.give_up()
    driver.reopened()
    assert late(driver, 1) == [False]
