"""Makes docs/console.png, the picture in the README: the page of `make demo` in the lane's Chromium."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.helpers.chromium import running_chromium  # noqa: E402 - the path above is where it is

PICTURE: Final = ROOT / "docs" / "console.png"
WIDTH: Final = 1000
HEIGHT: Final = 1040
# By then every signal has had a value, and the rates are those of some seconds.
SECONDS: Final = 12


def main() -> int:
    """Exit status 1 where the demo does not come up."""
    command = [sys.executable, str(ROOT / "scripts" / "demo.py")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            links = (re.search(r"http://\S+#link=\S+", line) for line in demo.stdout)
            link = next((found[0] for found in links if found), None)
            if link is None:
                return 1
            take_picture(link)
        finally:
            demo.send_signal(signal.SIGINT)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1000} kB")
    return 0


def take_picture(link: str) -> None:
    """Signs in, selects the demo's dongle where the page has not done so, and waits until it is lively."""
    with running_chromium() as chromium:
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
        page.goto(link)
        page.click("#dongles a:has-text('demo-van-can0')")
        page.wait_for_selector("#presence:has-text('online')")
        page.wait_for_timeout(SECONDS * 1_000)
        page.screenshot(path=PICTURE)


if __name__ == "__main__":
    sys.exit(main())
