"""A server that listens on every address is told to others by one that leads to it."""

from __future__ import annotations

import socket

import pytest

from stream_server.own_address import is_every_address, own_address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.168.1.5", "fe80::1%eth0"])
def test_one_address_is_told_as_it_is(host: str) -> None:
    assert not is_every_address(host)
    assert own_address(host) == host


@pytest.mark.parametrize(("host", "family"), [("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)])
def test_every_address_is_told_as_one_of_this_machine(host: str, family: socket.AddressFamily) -> None:
    assert is_every_address(host)
    told = own_address(host)
    assert not is_every_address(told)
    if told != "::1":  # it is told also where there is no IPv6
        socket.create_server((told, 0), family=family).close()  # no other machine's address can be bound
