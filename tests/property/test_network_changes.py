"""Any bytes are news of the network, none, or the documented error."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import LinkError
from edge_agent.host.network_changes import NetworkChanges
from tests.helpers.can_links import message
from tests.helpers.network_news import address, link, route

NEWS = st.sampled_from([link(), address(), address("2001:db8::7"), route(), route("fe80::1")])


@given(st.integers(0, 60), st.binary(max_size=120))
def test_any_bytes(kind: int, body: bytes) -> None:
    for datagram in (body, message(kind, body)):
        with contextlib.suppress(LinkError):
            NetworkChanges().take(datagram)


@given(st.lists(NEWS, min_size=1, max_size=4), st.data())
def test_news_with_bytes_changed(news: list[bytes], data: st.DataObject) -> None:
    changed = bytearray(b"".join(news))
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(LinkError):
        NetworkChanges().take(bytes(changed))


@given(st.lists(NEWS, max_size=8))
def test_what_was_taken_is_no_news_again(news: list[bytes]) -> None:
    changes = NetworkChanges()
    changes.take(b"".join(news))
    assert not changes.take(b"".join(news))
