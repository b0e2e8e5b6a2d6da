"""A group on the page at `/`: how it stands, both buses as one, and what turns its relay on and off."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from stream_server import clock
from stream_server.groups.group_state import DirectionBooks
from tests.browser.conftest import ConsoleServer
from tests.helpers.chromium import require_chromium, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

require_chromium()

THERE: Final = DirectionBooks(
    12,
    81_230,
    7,
    3,
    {"too_old": 40, "asleep": 2, "never": 0},
    (4.24, 9.06),
    waits_for="bus_load",
    missing_frames=5,
    counted={"too_old": 1},
)
BUTTONS: Final = ("#group-activate", "#group-dry-run", "#group-deactivate")


def opened(page: Page, server: ConsoleServer) -> None:
    """The page, signed in, with the group chosen in the list."""
    page.goto(server.sign_in_link)
    page.click("#groups a:has-text('bridge')")
    page.wait_for_selector("#connection:has-text('live')")
    page.wait_for_selector("#group-mode:text-is('inactive')")


def figures(page: Page, way: str) -> list[str]:
    """What the page says of one way."""
    return page.locator(f".way[data-way={way}] dd").all_inner_texts()


def answers(asked: list[str], *, yes: bool) -> Callable[[Dialog], None]:
    """Whoever is asked says this."""

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept() if yes else dialog.dismiss()

    return answer


def frame(dongle_id: str, direction: str = "rx") -> dict[str, Any]:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return {
        "ts": f"{stamp}.{int(now % 1 * 1e6):06d}Z", "dongle_id": dongle_id, "direction": direction,
        "bus": "can0", "id": "0x123", "is_extended": False, "dlc": 2, "data_hex": "01 02", "count": 1,
    }  # fmt: skip


def test_an_operator_activates_a_group_and_ends_it(console_server: ConsoleServer, chromium: Browser) -> None:
    console_server.make_group()
    asked: list[str] = []
    with watched_page(chromium.new_context(locale="en-GB")) as page:
        opened(page, console_server)
        page.once("dialog", answers(asked, yes=False))
        page.click("#group-activate")
        page.once("dialog", answers(asked, yes=True))
        page.click("#group-activate")
        page.wait_for_selector("#group-mode.active:text-is('active')")
        assert len(asked) == 2
        assert "Relay between can8 and can9?" in asked[0]
        assert "A to B: open" in asked[0]
        page.wait_for_selector("#groups .dot.active")
        assert page.is_hidden("#group-activate")
        page.click("#group-deactivate")
        page.wait_for_selector("#group-mode:text-is('inactive')")
        page.click("#group-dry-run")
        page.wait_for_selector("#group-mode:text-is('active, dry run')")
        assert "Nothing is put on a bus" in page.inner_text("#group-reason")
        assert page.is_hidden("#group-refusal")
        services = console_server.services
        name = services.groups.state(services.groups.group("bridge"))["activation"]
        assert name.endswith("-2"), "who says no activates nothing"
        page.route("**/api/v1/auth/me", lambda route: route.fulfill(json={"role": "viewer"}))
        page.reload()
        page.wait_for_selector("#group-mode:text-is('active, dry run')")
        assert not any(map(page.is_visible, BUTTONS)), "a viewer sees it and changes nothing"


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_both_buses_and_what_became_of_each_ways_frames_are_seen(
    console_server: ConsoleServer, chromium: Browser, tmp_path: Path, width: int, height: int
) -> None:
    console_server.make_group()
    services = console_server.services
    context = chromium.new_context(viewport={"width": width, "height": height}, locale="en-GB")
    with watched_page(context) as page:
        opened(page, console_server)
        page.once("dialog", answers([], yes=True))
        page.click("#group-activate")
        page.wait_for_selector("#group-mode.active")

        async def changes() -> None:
            services.activations.books_of = lambda _group: (THERE, DirectionBooks())
            services.groups.changed(services.groups.group("bridge"))

        console_server.call(changes())
        page.wait_for_selector("#group-mode.degraded:text-is('degraded')")
        page.wait_for_selector("#group-reason:has-text('A bus is as full as')")
        console_server.emit_to_group("can_frame", frame("can8"), frame("can9", "tx"))
        console_server.emit_to_group(
            "gap", {"gap_id": 1, "dongle_id": "can9", "lane": "frames", "from": None, "to": None,
                    "frames": 5, "where": "agent_announced"},
        )  # fmt: skip
        page.wait_for_function("() => document.querySelectorAll('#frames tr').length === 2")
        assert page.locator("#frames td:nth-child(2)").all_inner_texts() == ["A rx", "B tx"]
        page.wait_for_selector("#log li:has-text('B: gap: 5 frames missing')")
        page.wait_for_selector("#presence:text-is('A online · B online')")
        there = ["81,300", "17", "81,230", "7", "3", "43 (too_old 41, asleep 2)", "p50 4.2 ms, p99 9.1 ms"]
        assert figures(page, "a_to_b") == there
        assert figures(page, "b_to_a") == ["0", "0", "0", "0", "0", "0", "none yet"]
        assert page.locator(".way p.good").all_inner_texts() == ["open", "open"]
        page.screenshot(path=tmp_path / "group.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

        async def goes_away() -> None:
            stream, away = services.hub.group("bridge"), {"online": False, "reason": "closed"}
            stream.set_presence(services.hub.feed("can9").presence | away, clock.now())

        console_server.call(goes_away())
        page.wait_for_selector("#group-reason:has-text('Side B (can9) cannot be reached.')")
        page.wait_for_selector("#presence.bad:text-is('A online · B offline (closed)')")
