"""The page at `/` when its server, or what is in front of it, goes away: it says so, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import ConsoleServer
from tests.helpers.candump_logs import write_log
from tests.helpers.chromium import require_chromium
from tests.helpers.nginx import Nginx, require_nginx
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

require_chromium()
require_nginx("browser")


@pytest.fixture
def front(console_server: ConsoleServer, tmp_path: Path) -> Iterator[Nginx]:
    with Nginx(tmp_path, console_server.port) as nginx:
        yield nginx


def open_console(page: Page, url: str, link: str) -> None:
    """Sign in at `url` with the secret of `link`, and show the dongle."""
    page.goto(f"{url}/#{link.partition('#')[2]}")
    page.click("#dongles a:has-text('van7-can0')")
    page.wait_for_selector("#connection:text-is('live')")


def console_requests(page: Page) -> list[Request]:
    """What the page asks for the stream from now on."""
    asked: list[Request] = []
    page.on("request", lambda request: asked.extend([request] if "/console?" in request.url else []))
    return asked


def test_a_server_that_restarts_behind_a_proxy(
    server: StreamServer, agent: EnrolledAgent, chromium: Browser, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 70, 100)
    page = chromium.new_context().new_page()
    with Nginx(tmp_path, server.port) as front:
        open_console(page, front.url, server.sign_in_link())
        page.wait_for_selector("#presence:has-text('line')")
        server.stop()
        page.wait_for_selector("#connection:text-is('reconnecting: HTTP 502')")
        assert page.inner_text("#presence") == "unknown"
        page.wait_for_selector("#dongles small:has-text('unknown')")
        server.start()
        page.wait_for_selector("#connection:text-is('live')")
        page.wait_for_selector("#log li:has-text('connected again after')")
        with agent.replay(log, options=["--speed", "max"]) as replay:
            assert replay_summary(replay).lost == 0
        page.wait_for_selector("#received:text-is('70')")
        page.wait_for_selector("#dongles .dot:not(.unknown)")


def test_nothing_is_missed_while_only_the_proxy_fails(
    console_server: ConsoleServer, front: Nginx, chromium: Browser
) -> None:
    page = chromium.new_context().new_page()
    open_console(page, front.url, console_server.sign_in_link)
    page.wait_for_selector("#presence:text-is('online')")

    def emit(number: int) -> None:
        said = {"ts": "2025-12-22T00:00:00.000000Z", "level": "info", "source": "test"}
        console_server.emit("log", said | {"message": f"number {number}"})

    emit(0)
    page.wait_for_selector("#log li:has-text('number 0')")
    front.start("location /api { return 504; }")
    page.wait_for_selector("#connection:text-is('reconnecting: HTTP 504')")
    for number in range(1, 4):
        emit(number)
    assert page.inner_text("#presence") == "unknown"
    front.start()
    page.wait_for_selector("#connection:text-is('live')")
    page.wait_for_selector("#log li:has-text('number 3')")
    # Nobody says it again: it was true all the time.
    assert page.inner_text("#presence") == "online"
    said = [text for text in page.locator("#log li").all_inner_texts() if "number" in text]
    assert [int(text[-1]) for text in said] == [3, 2, 1, 0]
    assert page.locator("#log li:has-text('events of this page were missed')").count() == 0


def test_a_computer_that_slept_finds_a_dead_stream(console_server: ConsoleServer, chromium: Browser) -> None:
    page = chromium.new_context().new_page()
    page.clock.install()
    open_console(page, console_server.url, console_server.sign_in_link)
    console_server.emit("log", {"ts": "2025-12-22T00:00:00Z", "level": "info", "source": "a", "message": "b"})
    page.wait_for_selector("#log li:has-text('a: b')")
    asked = console_requests(page)
    page.clock.fast_forward(3_600_000)
    page.wait_for_selector("#log li:has-text('connected again after')")
    assert page.inner_text("#presence") == "online"
    assert [request.method for request in asked] == ["HEAD", "GET"]
    assert "last_event_id=" in asked[-1].url


def test_a_session_that_ended_is_said_and_asked_for_no_more(
    console_server: ConsoleServer, front: Nginx, chromium: Browser
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    open_console(page, front.url, console_server.sign_in_link)
    front.start("location /api { return 502; }")
    page.wait_for_selector("#connection:text-is('reconnecting: HTTP 502')")
    context.clear_cookies()
    page.clock.install()
    front.start()
    page.wait_for_selector("text=Your session has ended")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 -- playwright marks what it is given
    page.clock.run_for(60_000)
    assert asked == []


def test_a_refusal_for_a_while_is_waited_for_as_long_as_it_says(tmp_path: Path, chromium: Browser) -> None:
    with ConsoleServer(tmp_path / "data", streams_per_credential=1) as server:
        context = chromium.new_context()
        first, second = context.new_page(), context.new_page()
        open_console(first, server.url, server.sign_in_link)
        second.clock.install()
        asked = console_requests(second)
        second.goto(f"{server.url}/#dongle=van7-can0")
        second.wait_for_selector("#connection:has-text('too many')")
        refused = len(asked)
        second.evaluate("window.dispatchEvent(new Event('online'))")
        second.clock.run_for(1_000)
        assert len(asked) == refused
        first.close()
        server.wait_for_subscribers(0)
        second.clock.fast_forward(60_000)
        second.wait_for_selector("#connection:text-is('live')")


def test_a_link_is_not_lost_on_a_server_that_does_not_answer(
    console_server: ConsoleServer, front: Nginx, chromium: Browser
) -> None:
    front.start("location /api { return 502; }")
    page = chromium.new_context().new_page()
    page.goto(f"{front.url}/#{console_server.sign_in_link.partition('#')[2]}")
    page.wait_for_selector("text=The server does not answer")
    assert page.url == f"{front.url}/"
    front.start()
    page.wait_for_selector("#dongles a:has-text('van7-can0')")
    assert page.is_hidden("#notice")
