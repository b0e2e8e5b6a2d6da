"""Chromium's own EventSource with the cookie session: live, cut off, and across a restart of the server."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.helpers.candump_logs import write_log
from tests.helpers.chromium import require_chromium, watched_page
from tests.helpers.cutting_proxy import CuttingProxy
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, Response

require_chromium()

CONSOLE: Final = "/api/v1/streams/dongles/van7-can0/console"
RECORDER: Final = Path(__file__).with_name("recorder.js")


class Follower:
    """A signed-in page that follows the console with an EventSource of its own."""

    def __init__(self, page: Page, link: str) -> None:
        self.page = page
        self._requests: list[Request] = []
        page.add_init_script(path=RECORDER)
        page.on("response", self._take_response)
        page.goto(link)
        page.wait_for_selector("#fleet")
        page.evaluate("url => followStream(url)", CONSOLE)
        self.wait_for("seen.events.some((event) => event.event === 'presence')")

    def wait_for(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}")

    def wait_for_frames(self, total: int) -> None:
        self.wait_for(f"seen.frames === {total}")

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate("seen.events")
        return found

    def frames(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["event"] == "can_frame"]

    def resumed_after(self) -> list[str | None]:
        """The Last-Event-ID of every request that was answered."""
        return [request.all_headers().get("last-event-id") for request in self._requests]

    def _take_response(self, response: Response) -> None:
        if response.url.endswith(CONSOLE):
            self._requests.append(response.request)


def assert_books(follower: Follower, total: int) -> None:
    """The sum of `count` since joining is what the books of the latest presence say."""
    books = [event["data"] for event in follower.events() if event["event"] in ("presence", "stream_reset")]
    first, last = (book["frames_received"] - book["frames_pending"] for book in (books[0], books[-1]))
    assert last - first == total


def test_every_frame_of_a_replay_is_counted_once_also_when_the_console_is_sampled(
    server: StreamServer, agent: EnrolledAgent, chromium: Browser, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "busy.log", 4_000, 2_000)
    with watched_page(chromium.new_context()) as page:
        follower = Follower(page, server.sign_in_link())
        with agent.replay(log) as replay:
            follower.wait_for("seen.events.some((event) => event.data.online === true)")
            assert replay_summary(replay).acknowledged == 4_000
        follower.wait_for_frames(4_000)
        shown = len(follower.frames())
        # The agent is gone 5 s after its connections have closed: the presence that says so closes the books.
        follower.wait_for("seen.frames > 0 && seen.events.at(-1).data.online === false")
        assert_books(follower, 4_000)
        assert shown < 4_000
        logs = [event["data"] for event in follower.events() if event["event"] == "log"]
        told = [log["details"]["active"] for log in logs if log["source"] == "sampler"]
        assert (told[0], told[-1]) == (True, False)


def test_a_network_that_goes_away_costs_no_event(
    server: StreamServer, agent: EnrolledAgent, chromium: Browser, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 600, 150)
    link = server.sign_in_link()
    with watched_page(chromium.new_context()) as page, CuttingProxy(server.port) as proxy:
        undisturbed = Follower(page, link)
        context = chromium.new_context()
        context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
        context.set_default_timeout(30_000)
        disturbed = Follower(context.new_page(), proxy.url)
        with agent.replay(log) as replay:
            disturbed.wait_for("seen.frames > 50")
            # Being offline stops new requests only: Chromium leaves a stream that is open as it is.
            context.set_offline(True)
            proxy.cut()
            disturbed.wait_for("seen.errors > 1")
            undisturbed.wait_for("seen.frames > 250")
            context.set_offline(False)
            assert replay_summary(replay).acknowledged == 600
        undisturbed.wait_for_frames(600)
        disturbed.wait_for_frames(600)
        assert disturbed.frames() == undisturbed.frames()
        seen_ids = {event["id"] for event in undisturbed.events()}
        resumed_after = disturbed.resumed_after()
        assert len(resumed_after) == 2
        assert resumed_after[0] is None
        assert resumed_after[1] in seen_ids
        assert undisturbed.resumed_after() == [None]
        assert all(event["event"] != "stream_reset" for event in disturbed.events())


def test_a_restart_of_the_server_is_exactly_one_reset(
    server: StreamServer, agent: EnrolledAgent, chromium: Browser, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 50, 100)
    context = chromium.new_context()
    context.set_default_timeout(30_000)
    follower = Follower(context.new_page(), server.sign_in_link())
    for total in (50, 100):
        if total == 100:
            server.restart()
            follower.wait_for("seen.opened === 2")
        with agent.replay(log, options=["--speed", "max"]) as replay:
            assert replay_summary(replay).acknowledged == 50
        follower.wait_for_frames(total)
    events = follower.events()
    resets = [event for event in events if event["event"] == "stream_reset"]
    assert [reset["data"]["reason"] for reset in resets] == ["too_old"]
    assert follower.resumed_after()[-1] == str(resets[0]["data"]["requested_id"])
    ids = [int(event["id"]) for event in follower.frames()]
    assert all(before < after for before, after in pairwise(ids))
