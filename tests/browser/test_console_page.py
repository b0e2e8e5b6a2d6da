"""The page at `/` in Chromium: what a person sees of a dongle, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.candump_logs import IDS, write_log
from tests.helpers.chromium import require_chromium, watched_page
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser

require_chromium()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_a_replay_as_a_person_sees_it(
    server: StreamServer, agent: EnrolledAgent, chromium: Browser, tmp_path: Path, width: int, height: int
) -> None:
    log = write_log(tmp_path / "busy.log", 8_000, 2_000)
    context = chromium.new_context(viewport={"width": width, "height": height}, locale="en-GB")
    with watched_page(context) as page:
        page.goto(server.sign_in_link())
        page.click("#dongles a:has-text('van7-can0')")
        page.wait_for_selector("#connection:has-text('live')")
        with agent.replay(log) as replay:
            page.wait_for_selector("#presence:has-text('online')")
            page.wait_for_selector("#dongles .dot.online")
            page.wait_for_selector("#log li:has-text('sampler')")
            page.screenshot(path=tmp_path / "busy.png", full_page=True)
            assert replay_summary(replay).acknowledged == 8_000
        page.wait_for_selector("#received:text-is('8,001')")
        page.wait_for_function("n => document.querySelectorAll('#frames tr').length === n", arg=len(IDS))
        assert page.locator("#frames th").all_inner_texts() == [f"0x{number:03X}" for number in sorted(IDS)]
        counts = page.locator("#frames td:nth-child(5)").all_inner_texts()
        # The minute before the page was opened is shown too: one frame of the fixture.
        assert sum(int(count.replace(",", "")) for count in counts) == 8_001
        assert page.inner_text("#pending") == "0"
        page.wait_for_selector("#presence:has-text('offline')")
        page.wait_for_selector("#dongles .dot.offline")
        page.screenshot(path=tmp_path / "silent.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_comes_back_by_itself_after_a_restart_of_the_server(
    server: StreamServer, agent: EnrolledAgent, chromium: Browser, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 70, 100)
    page = chromium.new_context().new_page()
    page.goto(server.sign_in_link())
    page.click("#dongles a:has-text('van7-can0')")
    page.wait_for_selector("#connection:has-text('live')")
    with agent.replay(log, options=["--speed", "max"]) as replay:
        assert replay_summary(replay).lost == 0
    page.wait_for_selector("#received:text-is('71')")
    server.stop()
    page.wait_for_selector("#connection:has-text('reconnecting')")
    server.start()
    page.wait_for_selector("#connection:has-text('live')")
    page.wait_for_selector("#log li:has-text('missed')")
    with agent.replay(log, options=["--speed", "max"]) as replay:
        assert replay_summary(replay).lost == 0
    page.wait_for_selector("#received:text-is('70')")


def test_text_of_an_agent_is_text_on_the_page(
    server: StreamServer, agent: EnrolledAgent, chromium: Browser, tmp_path: Path
) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    with watched_page(chromium.new_context()) as page:
        page.goto(server.sign_in_link())
        log = write_log(tmp_path / "hostile.log", 1, 1)
        with agent.replay(log, options=["--map", f"can0={hostile}"]) as replay:
            assert replay_summary(replay).lost == 0
        page.wait_for_selector(f"#dongles small:has-text('{hostile}')")
        assert page.locator("#dongles img").count() == 0
