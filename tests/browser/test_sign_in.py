"""First run: the link that an empty data directory prints, opened with one click."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.helpers.chromium import require_chromium, watched_page
from tests.helpers.processes import StreamServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

require_chromium()


def test_the_printed_link_signs_in_with_one_click_once(server: StreamServer, chromium: Browser) -> None:
    link = server.sign_in_link()
    secret = link.partition("#link=")[2]
    with watched_page(chromium.new_context()) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(link)
        page.wait_for_selector("text=No agent has reported a dongle yet")
        assert page.is_hidden("#notice")
        assert page.url == f"{server.url}/"
        assert secret not in page.evaluate(
            "JSON.stringify([location.href, document.referrer, {...localStorage}])"
        )
        assert all(secret not in url.partition("#")[0] for url in asked)
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert page.evaluate("document.cookie") == ""
        page.reload()
        page.wait_for_selector("#fleet")
    assert secret not in server.process.errors


def test_a_second_use_of_the_link_is_refused_in_words(server: StreamServer, chromium: Browser) -> None:
    link = server.sign_in_link()
    with watched_page(chromium.new_context()) as page:
        page.goto(link)
        page.wait_for_selector("#fleet")
    stranger = chromium.new_context().new_page()
    stranger.goto(link)
    stranger.wait_for_selector("#notice")
    assert stranger.inner_text("#notice-title") == "This link was used already"
    assert "stream-server admin-link" in stranger.inner_text("#notice")
    assert stranger.is_hidden("#fleet")
    assert stranger.url == f"{server.url}/"
    assert stranger.context.cookies() == []


def test_a_new_link_signs_in_and_signing_out_ends_the_session(
    server: StreamServer, chromium: Browser
) -> None:
    link = server.administer("admin-link", "--url", server.url)
    with watched_page(chromium.new_context()) as page:
        page.goto(link)
        page.click("#sign-out")
        page.wait_for_selector("text=You are signed out")
        assert page.context.cookies() == []
    page.goto(server.url)
    page.wait_for_selector("text=You are not signed in")


def test_the_link_names_the_address_the_server_listens_on(server: StreamServer) -> None:
    assert re.fullmatch(rf"{re.escape(server.url)}/#link=\w[\w-]+", server.sign_in_link())
