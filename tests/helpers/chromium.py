"""Headless Chromium, the system's own binary, driven by Playwright."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tests.helpers.lanes import require_lane

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BINARY: Final = "chromium"
ARGUMENTS: Final = (
    "--no-sandbox",  # tests may run as root, for whom Chromium has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TIMEOUT_MS: Final = 30_000
_VIOLATIONS_SCRIPT: Final = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


def require_chromium() -> None:
    """Skips the module that calls this, or fails it, where a part is missing."""
    has_playwright = importlib.util.find_spec("playwright") is not None
    require_lane("browser", has_playwright, "playwright is missing: `pip install -r requirements/dev.txt`")
    require_lane("browser", shutil.which(BINARY) is not None, "chromium is missing: `apt install chromium`")


@contextlib.contextmanager
def running_chromium() -> Iterator[Browser]:
    """A browser with a fresh profile."""
    # Not at the top: without the package the lane is skipped, and its modules must be importable for that.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(BINARY), headless=True, args=[*ARGUMENTS]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def watched_page(context: BrowserContext) -> Iterator[Page]:
    """A new page. Whatever it reports to its console as an error, CSP violations included, fails the test."""
    context.set_default_timeout(_TIMEOUT_MS)
    complaints: list[str] = []
    page = context.new_page()
    page.add_init_script(_VIOLATIONS_SCRIPT)
    page.on("console", lambda message: _take_error(complaints, message.type, message.text))
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    yield page
    assert complaints == []


def _take_error(complaints: list[str], kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        complaints.append(f"{kind}: {text}")
