"""What a person meets on the page: one dongle, none of that name, rates of history, text to be copied."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.browser.conftest import ConsoleServer
from tests.helpers.chromium import require_chromium, watched_page
from tests.helpers.signal_agent import dongle_listing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

require_chromium()

FRAMES: Final = "#frames tr:has(th:text-is('{}')) td:nth-child({})"
SIGNALS: Final = "#signals tr:has(th:has-text('{}')) td:nth-child({})"
SELECTED: Final = "() => getSelection().toString().trim()"
RECORDER: Final = """
window.rates = [];
new MutationObserver(() => {
  const rate = document.getElementById("rate")?.textContent ?? "0/s";
  if (rate !== "0/s") window.rates.push(parseInt(rate.replaceAll(",", "")));
}).observe(document, { childList: true, characterData: true, subtree: true });
"""


def utc(seconds: float) -> str:
    """As `ts` has it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{round(seconds % 1 * 1e6) % 1_000_000:06d}Z"


def frame(arbitration_id: str, data: str, seconds: float | None = None, count: int = 1) -> dict[str, Any]:
    return {
        "ts": utc(time.time() if seconds is None else seconds), "direction": "rx", "bus": "can0",
        "id": arbitration_id, "is_extended": False, "dlc": 2, "data_hex": data, "count": count,
    }  # fmt: skip


def opened(page: Page, console_server: ConsoleServer, address: str = "") -> None:
    page.goto(console_server.sign_in_link)
    page.wait_for_selector("#connection:has-text('live')")
    if address:
        page.goto(f"{console_server.url}/{address}")


def test_the_only_dongle_is_shown_until_somebody_leaves_it(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    with watched_page(chromium.new_context()) as page:
        opened(page, console_server)
        assert page.inner_text("#console-title") == "van7-can0"
        assert page.url.endswith("/#dongle=van7-can0")
        assert page.locator("#dongles a[aria-current=page]").count() == 1
        page.click("header h1 a")
        page.wait_for_selector("#console", state="hidden")
        # The list is asked for again, and nobody is taken back to what he has left.
        with page.expect_response("**/api/v1/dongles"):
            pass
        page.wait_for_selector("#dongles a:not([aria-current])")
        assert page.is_hidden("#console")


def test_a_dongle_that_is_not_there_is_said_at_the_top_and_shown_once_it_is(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    with watched_page(chromium.new_context()) as page:
        opened(page, console_server, "#dongle=van7-can9")
        page.wait_for_selector("#notice-title:text-is('There is no dongle van7-can9')")
        assert page.is_hidden("#console")
        assert page.locator("#dongles a[aria-current=page]").count() == 0
        notice = page.locator("#notice").bounding_box()
        assert notice is not None
        assert notice["y"] < 200
        listing = [dongle_listing(name, []) for name in ("van7-can0", "van7-can9")]
        agent = console_server.agent
        console_server.call(agent.control.send_json({"type": "devices_report", "dongles": listing}))
        page.wait_for_selector("#console-title:text-is('van7-can9')")
        assert page.is_hidden("#notice")
        page.goto(f"{console_server.url}/#dongle=nope")
        page.wait_for_selector("#notice-title:text-is('There is no dongle nope')")
        page.click("#dongles a:has-text('van7-can0')")
        page.wait_for_selector("#console-title:text-is('van7-can0')")
        assert page.is_hidden("#notice")


@pytest.mark.parametrize(
    ("merged", "pause_after"), [(1, 501), (5, 501), (1, 400)],
    ids=["each frame", "five at a time", "after a pause"],
)  # fmt: skip
def test_history_counts_by_when_it_was_on_the_bus(
    console_server: ConsoleServer, chromium: Browser, merged: int, pause_after: int
) -> None:
    now = time.time()
    # Two ids, together 50 a second, for ten seconds: all of it is sent as soon as the page is opened.
    history = [
        frame(
            ("0x100", "0x200")[number // merged % 2], "00 01",
            now - 10 + number / 50 - (30 if number < pause_after < 500 else 0), merged,
        )
        for number in range(merged, 501, merged)
    ]  # fmt: skip
    console_server.emit("can_frame", *history)
    with watched_page(chromium.new_context()) as page:
        page.add_init_script(RECORDER)
        opened(page, console_server)
        page.wait_for_selector("#rate:text-is('0/s')")
        page.wait_for_function("() => window.rates.length > 0")
        rates = page.evaluate("() => window.rates")
        assert 45 <= min(rates) <= max(rates) <= 55, rates
        # Nothing more came: after two seconds it is a silent bus.
        page.wait_for_selector("#rate:text-is('0/s')")


@pytest.mark.parametrize("table", ["frames", "signals"])
def test_what_is_selected_can_be_copied_from_a_live_row(
    console_server: ConsoleServer, chromium: Browser, table: str
) -> None:
    def show(value: int) -> None:
        if table == "frames":
            console_server.emit("can_frame", *(frame(one, f"0{value} AA") for one in ("0x100", "0x200")))
        else:
            values = {"Speed": value, "Torque": value, f"New{value}": value}
            body = {"ts": utc(time.time()), "message": "Engine", "values": values, "hash": "0" * 64}
            console_server.emit("signals", body)

    cell, other = (
        (FRAMES.format("0x100", 4), FRAMES.format("0x200", 4))
        if table == "frames"
        else (SIGNALS.format("Speed", 2), SIGNALS.format("Torque", 2))
    )
    with watched_page(chromium.new_context()) as page:
        opened(page, console_server)
        show(1)
        first = page.inner_text(cell)
        page.click(cell, click_count=3)
        assert page.evaluate(SELECTED).startswith(first)
        for value in (2, 3):
            show(value)
            page.wait_for_selector(f"{other}:has-text('{value}')")
        assert page.evaluate(SELECTED).startswith(first)
        assert page.inner_text(cell) == first
        page.click("#books")
        page.wait_for_selector(f"{cell}:has-text('3')")
