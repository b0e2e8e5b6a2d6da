"""`make demo` without a browser: beside what runs already, and until it ends, however that is."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.helpers.demo import (
    STARTED_SECONDS,
    demo_command,
    demo_environment,
    running_demo,
    sign_in_link,
)
from tests.helpers.processes import STOP_SECONDS, Process

NO_ADDRESSES: Final = [
    *(("127.0.0.1", port, f"PORT={port} is no port") for port in ("abc", "", "99999", "-1", "8_0", "100000")),
    # The last is of documentation (RFC 5737): no machine has it.
    *((host, "8080", f"HOST={host} is no address") for host in ("nope.invalid", "a..b", "", "192.0.2.1")),
]


def test_a_taken_port_is_said_and_another_one_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_demo(tmp_path, port) as demo:
            place = urlsplit(sign_in_link(demo))
            assert f"Port {port} is taken" in demo.output
            assert place.port != port
            assert _answers(place.netloc)
            demo.signal(signal.SIGINT)
            assert demo.wait() == 0
            assert demo.errors == ""
    for log in ("server.log", "agent.log"):
        text = (tmp_path / "data" / log).read_text()
        assert text
        assert not re.search("WARNING|ERROR|Traceback", text)


def test_what_a_part_wrote_is_shown_where_it_ends_too_early(tmp_path: Path) -> None:
    # An address of documentation (RFC 5737), which no machine has.
    with running_demo(tmp_path, host="192.0.2.1") as demo:
        assert demo.wait(STARTED_SECONDS) == 1
        assert "server has ended" in demo.errors
        assert "192.0.2.1" in demo.errors
        assert "Traceback" not in demo.errors


def test_a_second_demo_leaves_the_first_alone(tmp_path: Path) -> None:
    with running_demo(tmp_path) as first:
        place = urlsplit(sign_in_link(first)).netloc
        with running_demo(tmp_path) as second:
            assert second.wait() == 1
        assert f"A demo runs in {tmp_path / 'data'} already" in second.errors
        links = re.findall(r"^ +(http\S+/#link=\S+)$", second.errors, re.MULTILINE)
        assert [urlsplit(link).netloc for link in links] == [place]
        # That of another checkout, of the same user.
        with running_demo(tmp_path, data="other") as third:
            other = urlsplit(sign_in_link(third)).netloc
            assert other != place
            assert _answers(other)
            assert _answers(place)
        assert first.is_running
        assert "A part of the demo has ended" not in first.output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_nothing_runs_on_where_a_demo_was_killed(tmp_path: Path, number: signal.Signals) -> None:
    with running_demo(tmp_path) as demo, contextlib.ExitStack() as stack:
        sign_in_link(demo)
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        parts = [os.pidfd_open(int(child)) for child in children]
        assert len(parts) == 2
        for part in parts:
            stack.callback(os.close, part)
        demo.signal(number)
        assert demo.wait() == (0 if number == signal.SIGQUIT else -number)
        for part in parts:
            assert select.select([part], [], [], STOP_SECONDS)[0], "a part runs on"


@pytest.mark.parametrize(("host", "port", "said"), NO_ADDRESSES, ids=lambda value: value[:16])
def test_what_is_no_address_is_said_in_a_sentence(tmp_path: Path, host: str, port: str, said: str) -> None:
    with Process(demo_command(tmp_path / "data"), environment=demo_environment(tmp_path, port, host)) as demo:
        assert demo.wait() == 1
    assert demo.output == ""
    assert demo.errors.startswith(said)
    assert demo.errors.count("\n") == 1
    assert "or leave" in demo.errors


def _answers(place: str) -> bool:
    with urllib.request.urlopen(f"http://{place}/", timeout=10) as answer:
        return bool(answer.status == 200)
