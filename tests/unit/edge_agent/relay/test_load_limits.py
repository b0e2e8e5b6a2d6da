"""How much of its bus a relay may use."""

from __future__ import annotations

from can_stream.frames.batches import batch_of
from edge_agent.relay.load_limits import LoadLimits

SECOND = 10**9
BURST = batch_of([(0, 1, 0, 8, bytes(8))] * 16)  # 135 bits each at their worst


def rate(limits: LoadLimits, age_seconds: float) -> float:
    """Frames per second of a queue that never ends and whose head is so old, after its first second."""
    sent = 0
    for now_ns in range(99 * SECOND, 100 * SECOND, SECOND // 1000):
        limits.take(BURST, now_ns - int(age_seconds * SECOND), now_ns)
    for now_ns in range(100 * SECOND, 102 * SECOND, SECOND // 1000):
        sent += limits.take(BURST, now_ns - int(age_seconds * SECOND), now_ns)
    return sent / 2


def limits(bit_rate: int | None) -> LoadLimits:
    made = LoadLimits(0.3, 0.9)
    made.set_bus(bit_rate, None)
    return made


def test_live_it_is_the_one_share_of_the_bit_rate_and_while_catching_up_the_other() -> None:
    assert abs(rate(limits(500_000), 0.5) / (0.9 * 500_000 / 135) - 1) < 0.02
    assert abs(rate(limits(500_000), 1.5) / (0.3 * 500_000 / 135) - 1) < 0.02


def test_however_fast_the_bus_is_catching_up_has_an_end_of_its_own() -> None:
    assert rate(limits(100_000_000), 0.5) == 16_000
    assert abs(rate(limits(100_000_000), 1.5) / 5_000 - 1) < 0.02


def test_where_the_bit_rate_is_not_known_nothing_goes() -> None:
    assert rate(limits(None), 0.5) == 0


def test_what_others_of_this_gateway_send_counts_and_what_was_not_taken_does_not() -> None:
    one, now_ns = limits(500_000), 100 * SECOND
    while one.take(BURST, now_ns, now_ns):
        pass
    wait_ns = one.wait_ns()
    one.use(BURST)
    assert one.wait_ns() > wait_ns + 16 * 135 * 2_000
    one.give_back(BURST)
    one.give_back(BURST)
    assert one.take(BURST, now_ns, now_ns)
