"""`make demo` in Chromium, from the first moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.helpers.chromium import require_chromium, watched_page
from tests.helpers.demo import running_demo, sign_in_link

if TYPE_CHECKING:
    from playwright.sync_api import Browser

require_chromium()

# Every rate that the page shows, from the first on; it draws four times a second.
RECORDER: Final = """
window.rates = [];
new MutationObserver(() => {
  const rate = document.getElementById("rate")?.textContent ?? "0/s";
  if (rate !== "0/s") window.rates.push(parseInt(rate.replaceAll(",", "")));
}).observe(document, { childList: true, characterData: true, subtree: true });
"""
RECEIVED: Final = """
(least) => parseInt(document.getElementById("received").textContent.replaceAll(",", "")) > least
"""
DRIVE_PER_SECOND: Final = 194


def test_the_page_shows_the_van_and_its_rate_at_once(chromium: Browser, tmp_path: Path) -> None:
    context = chromium.new_context(locale="en-GB")
    with running_demo(tmp_path) as demo, watched_page(context) as first, watched_page(context) as page:
        link = sign_in_link(demo)
        first.goto(link)
        first.wait_for_selector("#console-title:text-is('demo-van-can0')")
        # Whoever looks later is sent history.
        first.wait_for_function(RECEIVED, arg=5 * DRIVE_PER_SECOND)
        page.add_init_script(RECORDER)
        page.goto(link.partition("#")[0])
        page.wait_for_selector("#console-title:text-is('demo-van-can0')")
        page.wait_for_function("() => window.rates.length >= 12")
        rates = page.evaluate("() => window.rates")
        assert 0.9 * DRIVE_PER_SECOND < min(rates) <= max(rates) < 1.1 * DRIVE_PER_SECOND, rates
        page.screenshot(path=tmp_path / "demo.png", full_page=True)
        for each in (first, page):
            assert each.locator("#log li.warning, #log li.error").all_inner_texts() == []
        assert page.locator("#dongles a[aria-current=page]").count() == 1
        assert page.is_hidden("#notice")
