"""A dead name server holds nobody up: not the addresses of another family, and not the program's end."""

from __future__ import annotations

import asyncio
import socket
import time
from threading import Event
from typing import Any

import pytest
from pytest_mock import MockerFixture

from edge_agent.host import look_up as module
from edge_agent.host.look_up import MAX_THREADS, look_up, run

IPV4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))
IPV6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0))


class NameServers:
    """What getaddrinfo does for each family: gives addresses, fails, or hangs until the test is over."""

    def __init__(self, mocker: MockerFixture) -> None:
        self.answers: dict[int, Any] = {}
        self.asked: list[int] = []
        self.over = Event()
        mocker.patch("socket.getaddrinfo", self._answer)
        mocker.patch.object(module, "_ASK_APART_SECONDS", 0.02)
        mocker.patch.object(module, "_OTHER_FAMILY_SECONDS", 0.02)

    def _answer(self, _host: str, _port: int, *, family: int = 0, **_: int) -> Any:
        self.asked.append(family)
        answer = self.answers.get(family)
        if answer is None:
            self.over.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "late")
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def servers(mocker: MockerFixture) -> Any:
    servers = NameServers(mocker)
    yield servers
    servers.over.set()


def found() -> Any:
    return run(look_up("stream.example.com", 80, type=socket.SOCK_STREAM))


def test_a_prompt_answer_needs_one_question(servers: NameServers) -> None:
    servers.answers[0] = [IPV6, IPV4]
    assert found() == [IPV6, IPV4]
    assert servers.asked == [0]


def test_a_name_that_is_not_known_is_said_as_it_is(servers: NameServers) -> None:
    servers.answers[0] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        found()


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, IPV4), (socket.AF_INET6, IPV6)])
def test_a_question_that_is_dropped_does_not_hold_up_the_other_family(
    family: int, address: Any, servers: NameServers
) -> None:
    servers.answers[family] = [address]
    assert found() == [address]
    assert sorted(servers.asked) == [0, socket.AF_INET, socket.AF_INET6]


def test_what_both_families_say_is_joined(servers: NameServers) -> None:
    servers.answers |= {socket.AF_INET: [IPV4], socket.AF_INET6: [IPV6, IPV6]}
    assert found() == [IPV6, IPV4]


def test_a_family_without_addresses_leaves_the_other(servers: NameServers) -> None:
    servers.answers |= {socket.AF_INET6: socket.gaierror(socket.EAI_NODATA, "none"), socket.AF_INET: [IPV4]}
    assert found() == [IPV4]


def test_dead_name_servers_are_given_up(servers: NameServers, mocker: MockerFixture) -> None:
    mocker.patch.object(module, "LOOK_UP_SECONDS", 0.1)
    with pytest.raises(socket.gaierror, match="no name server answers") as caught:
        found()
    assert caught.value.errno == socket.EAI_AGAIN


def test_a_program_ends_though_a_name_server_hangs(servers: NameServers) -> None:
    async def give_up() -> None:
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().getaddrinfo("stream.example.com", 80)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run(give_up())
    assert time.monotonic() - began < 5, "the thread waits for 30 s"


def test_threads_that_hang_are_bounded(servers: NameServers, mocker: MockerFixture) -> None:
    mocker.patch.object(module, "LOOK_UP_SECONDS", 0.05)

    async def ask_often() -> None:
        asked = [look_up("stream.example.com", 80) for _ in range(MAX_THREADS)]
        said = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, socket.gaierror) for one in said)

    run(ask_often())
    assert len(servers.asked) == MAX_THREADS
