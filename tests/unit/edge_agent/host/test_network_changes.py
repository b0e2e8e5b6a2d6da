"""Which news of the kernel open a way to the network, and which only repeat what is known."""

from __future__ import annotations

import pytest

from edge_agent.errors import LinkError
from edge_agent.host.network_changes import MAX_KNOWN, NetworkChanges
from tests.helpers.network_news import DELADDR, DELLINK, DELROUTE, address, link, route


@pytest.mark.parametrize("news", [link(), address(), address("2001:db8::7"), route(), route("fe80::1")])
def test_what_appears_is_news_once(news: bytes) -> None:
    changes = NetworkChanges()
    assert changes.take(news)
    assert not changes.take(news)


def test_a_router_that_says_again_what_holds_is_no_news() -> None:
    changes = NetworkChanges()
    assert changes.take(address("2001:db8::7", life=1800))
    assert not changes.take(address("2001:db8::7", life=1799))


@pytest.mark.parametrize(
    "news",
    [
        link(has_carrier=False),
        link(hardware=280),  # a CAN interface
        link(hardware=772),  # loopback
        address("2001:db8::7", flags=0x40),  # not yet known to be its only one
        address("2001:db8::7", flags=0x48),  # and it is not
        address("fe80::7", scope=253),
        address("127.0.0.1", scope=254),
        route(route_type=7),  # unreachable
        route(table=255),
        route("fe80::1", flags=0x200),  # of one connection
        address(kind=DELADDR),
        route(kind=DELROUTE),
        link(kind=DELLINK),
    ],
)
def test_what_leads_nowhere_is_no_news(news: bytes) -> None:
    assert not NetworkChanges().take(news)


def test_an_address_counts_once_it_may_be_used() -> None:
    changes = NetworkChanges()
    assert not changes.take(address("2001:db8::7", flags=0x40))
    assert changes.take(address("2001:db8::7", flags=0x80))


@pytest.mark.parametrize(
    "gone", [link(has_carrier=False), link(kind=DELLINK), address(kind=DELADDR), route(kind=DELROUTE)]
)
def test_what_comes_back_is_news_again(gone: bytes) -> None:
    """The kernel does not name the routes that go with an address or a carrier."""
    changes = NetworkChanges()
    assert changes.take(route())
    assert not changes.take(gone)
    assert changes.take(route())


def test_several_messages_come_at_once() -> None:
    changes = NetworkChanges()
    assert changes.take(address() + route(kind=DELROUTE) + route())
    assert changes.take(address() + link(hardware=280))
    assert not changes.take(address() + route())


def test_another_address_or_gateway_is_another_way() -> None:
    changes = NetworkChanges()
    assert changes.take(address() + route())
    assert changes.take(address("192.0.2.8"))
    assert changes.take(route("192.0.2.2"))
    assert changes.take(route(oif=3))


def test_what_is_kept_is_bounded() -> None:
    changes = NetworkChanges()
    for index in range(3 * MAX_KNOWN):
        assert changes.take(link(index))
    assert not changes.take(link(3 * MAX_KNOWN - 1))
    assert changes.take(link(0))


@pytest.mark.parametrize("datagram", [b"\0", link()[:-1], b"\4\0\0\0" + bytes(12), address()[:20]])
def test_bytes_that_are_no_news_are_said_to_be_none(datagram: bytes) -> None:
    with pytest.raises(LinkError):
        NetworkChanges().take(datagram)
