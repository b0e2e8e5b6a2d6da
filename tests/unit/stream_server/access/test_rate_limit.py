"""Token buckets, and what an address is counted under."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.access.rate_limit import MAXIMUM_KEYS, TokenBuckets, address_key


def test_a_burst_passes_then_the_rate_holds() -> None:
    buckets = TokenBuckets(per_second=2.0, burst=3)
    assert [buckets.take_token("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take_token("b", 0.0) == 0.0
    assert buckets.take_token("a", 0.5) == 0.0
    assert buckets.take_token("a", 0.5) == 0.5


@given(st.lists(st.floats(0, 10), max_size=100), st.floats(0.1, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate_allow(pauses: list[float], per_second: float, burst: int) -> None:
    buckets = TokenBuckets(per_second, burst)
    now = 0.0
    passed = 0
    for pause in pauses:
        now += pause
        passed += buckets.take_token("a", now) == 0
        assert passed <= burst + now * per_second + 1e-6


def test_waiting_as_told_is_enough() -> None:
    buckets = TokenBuckets(per_second=0.3, burst=1)
    assert buckets.take_token("a", 7.0) == 0
    wait = buckets.take_token("a", 7.0)
    assert wait > 0
    assert buckets.take_token("a", 7.0 + wait + 1e-9) == 0


def test_memory_is_bounded() -> None:
    buckets = TokenBuckets(1.0, 1)
    for key in range(MAXIMUM_KEYS + 50):
        buckets.take_token(str(key), 0.0)
    assert len(buckets) == MAXIMUM_KEYS


@pytest.mark.parametrize(
    ("remote", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nonsense", "unknown"),
        (None, "unknown"),
    ],
)
def test_address_keys(remote: str | None, key: str) -> None:
    assert address_key(remote) == key


@given(st.text())
def test_any_text_is_an_address_key(text: str) -> None:
    assert address_key(text)
