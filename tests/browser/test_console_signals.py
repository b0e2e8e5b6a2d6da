"""Decoded signals on the page at `/`: shown exactly, newest last, and cheaply."""

from __future__ import annotations

import math
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from can_stream.frames.batches import batch_of
from can_stream.signals.model import Encoding, SignalModel
from tests.browser.conftest import ConsoleServer
from tests.helpers.chromium import require_chromium, watched_page
from tests.helpers.signal_agent import values_of
from tests.helpers.signal_tables import table_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

require_chromium()

LAST_VALUES: Final = "**/api/v1/dongles/van7-can0/signals"
HTML: Final = "<img src=x onerror=alert(1)>"
EXACT: Final[dict[str, tuple[Any, str]]] = {
    "NotANumber": ("NaN", "NaN"),
    "Above": ("Infinity", "Infinity"),
    "Below": ("-Infinity", "-Infinity"),
    "Unsigned64": (2**64 - 1, "18446744073709551615"),
    "Signed64": (-(2**63), "-9223372036854775808"),
    "Beyond53": (2**53 + 1, "9007199254740993"),
    "Within53": (2**53 - 1, "9007199254740991"),
    "Gear": ("Drive", "Drive"),
    "LongName": ('"1": 12345678901234567890 \\', '"1": 12345678901234567890 \\'),
    "Speed": (812.5, "812.5"),
    "Scaled": (903 * 0.1, "90.3"),
    "Large": (2.0**70, "1.1805916207174113e+21"),
    HTML: (HTML, HTML),
}


# What a signal's 8 bytes say, and what a person is to see of it.
ON_THE_WIRE: Final = (
    (SignalModel("NotANumber", 0, 64, encoding=Encoding.FLOAT), struct.pack("<d", math.nan), "NaN"),
    (SignalModel("Above", 0, 64, encoding=Encoding.FLOAT), struct.pack("<d", math.inf), "Infinity"),
    (SignalModel("Below", 0, 64, encoding=Encoding.FLOAT), struct.pack("<d", -math.inf), "-Infinity"),
    (SignalModel("Unsigned64", 0, 64), b"\xff" * 8, "18446744073709551615"),
    (
        SignalModel("Signed64", 0, 64, encoding=Encoding.SIGNED),
        struct.pack("<q", -(2**63)),
        "-9223372036854775808",
    ),
    (SignalModel("Scaled", 0, 16, scale=0.1, unit="km/h"), struct.pack("<Q", 903), "90.3"),
    (SignalModel("Gear", 0, 8, choices={0: "Park", 3: "Drive"}), struct.pack("<Q", 3), "Drive"),
    (SignalModel(HTML, 0, 8, unit=HTML, choices={3: HTML}), struct.pack("<Q", 3), HTML),
)
SENT_AS: Final = {
    "can_frame events": ("all", True),
    "signals events": ("off", False),
    "last values": ("all", False),
}


@pytest.mark.parametrize("way", SENT_AS)
def test_what_an_agent_decodes_comes_to_the_browser_exactly(
    console_server: ConsoleServer, chromium: Browser, way: str
) -> None:
    lane, has_frames = SENT_AS[way]
    table = table_of({f"{HTML}{number}": [signal] for number, (signal, _, _) in enumerate(ON_THE_WIRE)})
    frames = batch_of(
        (time.time_ns(), 0x100 + number, 0, 8, data) for number, (_, data, _) in enumerate(ON_THE_WIRE)
    )
    agent = console_server.agent
    assert console_server.call(agent.report([table], lane)) == [table.hash.hex()]
    console_server.call(agent.give(table))
    send = agent.send(frames=frames if has_frames else None, values=values_of(table, frames))
    with watched_page(chromium.new_context()) as page:
        if way == "last values":
            console_server.call(send)
            open_console(page, console_server)
        else:
            open_console(page, console_server)
            assert page.is_hidden("#signals-panel")
            console_server.call(send)
        page.wait_for_function(
            f"() => document.querySelectorAll('#signals tr').length === {len(ON_THE_WIRE)}"
        )
        assert shown_values(page) == {
            f"{HTML}{number}.{signal.name}": text for number, (signal, _, text) in enumerate(ON_THE_WIRE)
        }
        page.wait_for_selector("#signals td:text-is('km/h')")
        assert ("signals only" in page.inner_text("#no-frames")) == (lane == "off")
        assert page.locator("#frames .decoded").count() == (len(ON_THE_WIRE) if has_frames else 0)
        assert page.locator("article img").count() == 0


def frame(number: int, message: str, values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A decoded frame, `number` seconds after midnight."""
    return {
        "ts": at(number),
        "direction": "rx",
        "bus": "can0",
        "id": "0x100",
        "is_extended": False,
        "dlc": 8,
        "data_hex": f"{number:016X}",
        "count": 1,
        "message": message,
        "signals": values,
    } | changes


def at(number: int) -> str:
    """A time of a day long gone."""
    return f"2025-12-22T00:00:{number:02d}.000000Z"


def open_console(page: Page, server: ConsoleServer) -> None:
    page.goto(server.sign_in_link)
    page.click("#dongles a:has-text('van7-can0')")
    page.wait_for_selector("#connection:has-text('live')")


def answer_last_values(page: Page, table_hash: str, values: dict[str, Any]) -> None:
    """The last values of a message, 30 s after midnight, as if the server had them."""
    common = {"message": HTML, "number": None, "unit": HTML, "choices": None, "ts": at(30)}
    signals = [{"signal": name, "value": value} | common for name, value in values.items()]
    answer = {"dongle_id": "van7-can0", "hash": table_hash, "signals": signals}
    page.route(LAST_VALUES, lambda route: route.fulfill(json=answer))


def shown_values(page: Page) -> dict[str, str]:
    """The rows of the panel that are not filtered out: text of the value by name."""
    rows: list[list[str]] = page.eval_on_selector_all(
        "#signals tr:not([hidden])", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return {row[0]: row[1] for row in rows}


def wait_for_value(page: Page, name: str, text: str) -> None:
    page.wait_for_function(
        "([name, text]) => [...document.querySelectorAll('#signals tr')]"
        ".some(row => row.cells[0].textContent === name && row.cells[1].textContent === text)",
        arg=[name, text],
    )


@pytest.mark.parametrize("event", ["can_frame", "signals"])
def test_every_value_is_shown_exactly_and_every_name_as_text(
    console_server: ConsoleServer, chromium: Browser, event: str
) -> None:
    values = {name: value for name, (value, _) in EXACT.items()}
    payload = frame(1, HTML, values) | {"values": values}
    with watched_page(chromium.new_context()) as page:
        open_console(page, console_server)
        assert page.is_hidden("#signals-panel")
        console_server.emit(event, payload)
        page.wait_for_selector("#signals-panel")
        assert shown_values(page) == {f"{HTML}.{name}": text for name, (_, text) in EXACT.items()}
        assert page.locator("#signals td:nth-child(4)").first.inner_text() == "2025-12-22 00:00:01"
        assert page.locator("article img").count() == 0


def test_a_frames_row_says_its_message_its_signals_and_what_was_not_decoded(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    values = {name: value for name, (value, _) in EXACT.items()}
    with watched_page(chromium.new_context()) as page:
        open_console(page, console_server)
        console_server.emit("can_frame", frame(1, HTML, values, undecoded=["Torque", HTML]))
        page.wait_for_selector("#frames .decoded")
        assert page.inner_text("#frames .decoded strong") == HTML
        pairs = page.locator("#frames .decoded span").all_text_contents()
        assert pairs == [
            *(f"{name} {text}" for name, (_, text) in EXACT.items()),
            f"not decoded: Torque, {HTML}",
        ]
        assert page.locator("article img").count() == 0
        # The same id, as a database sees it that knows less, and then one that knows nothing.
        console_server.emit("can_frame", frame(2, "Engine", {"Speed": 3}))
        page.wait_for_selector("#frames .decoded strong:text-is('Engine')")
        assert page.locator("#frames .decoded span").all_text_contents() == ["Speed 3"]
        undecoded = frame(3, "", {})
        del undecoded["message"], undecoded["signals"]
        console_server.emit("can_frame", undecoded)
        page.wait_for_selector("#frames .decoded", state="hidden")


def test_a_message_of_many_signals_keeps_its_row_short(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    cells = {f"Cell{number}": number for number in range(1, 97)}
    with watched_page(chromium.new_context()) as page:
        open_console(page, console_server)
        console_server.emit("can_frame", frame(1, "Battery", cells, is_fd=True))
        page.wait_for_selector("#frames .decoded")
        assert page.locator("#frames .decoded span").last.inner_text() == "and 72 more"
        wait_for_value(page, "Battery.Cell96", "96")
        # By name as people count: Cell2 before Cell10.
        assert list(shown_values(page)) == [f"Battery.{name}" for name in cells]
        assert page.inner_text("#signal-count") == "96"


def test_the_newest_value_stays_in_whichever_order_values_come(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    with watched_page(chromium.new_context()) as page:
        open_console(page, console_server)
        console_server.emit("can_frame", frame(5, "Engine", {"Speed": 5, "Torque": 5}))
        wait_for_value(page, "Engine.Speed", "5")
        console_server.emit(
            "signals",
            {"ts": at(4), "message": "Engine", "values": {"Speed": 4}, "hash": "00"},
            {"ts": at(6), "message": "Engine", "values": {"Torque": 6}, "hash": "00"},
        )
        wait_for_value(page, "Engine.Torque", "6")
        assert shown_values(page) == {"Engine.Speed": "5", "Engine.Torque": "6"}


def test_a_clock_that_is_set_back_does_not_stop_the_page(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    with watched_page(chromium.new_context()) as page:
        open_console(page, console_server)
        console_server.emit(
            "can_frame", frame(5, "Engine", {"Speed": 5}) | {"ts": at(5).replace("2025", "2035")}
        )
        wait_for_value(page, "Engine.Speed", "5")
        console_server.emit("can_frame", frame(6, "Engine", {"Speed": 6}))
        wait_for_value(page, "Engine.Speed", "6")


def test_opening_shows_the_last_values_with_their_units(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    with watched_page(chromium.new_context()) as page:
        answer_last_values(page, "aa", {name: value for name, (value, _) in EXACT.items()})
        open_console(page, console_server)
        wait_for_value(page, f"{HTML}.Gear", "Drive")
        assert shown_values(page) == {f"{HTML}.{name}": text for name, (_, text) in EXACT.items()}
        assert set(page.locator("#signals td:nth-child(3)").all_inner_texts()) == {HTML}
        console_server.emit(
            "can_frame", frame(29, HTML, {"Gear": "Park"}), frame(31, HTML, {"Speed": 7}, id="0x101")
        )
        wait_for_value(page, f"{HTML}.Speed", "7")
        assert shown_values(page)[f"{HTML}.Gear"] == "Drive"
        page.wait_for_selector("#frames .decoded >> nth=1")
        # A frame's own row shows what that frame says.
        assert page.locator("#frames .decoded span").all_text_contents() == [
            f"Gear Park {HTML}",
            f"Speed 7 {HTML}",
        ]
        assert page.locator("article img").count() == 0


def test_signals_of_a_table_that_is_gone_go_with_it(console_server: ConsoleServer, chromium: Browser) -> None:
    with watched_page(chromium.new_context()) as page:
        answer_last_values(page, "aa", {"Speed": 1, "Torque": 2})
        open_console(page, console_server)
        wait_for_value(page, f"{HTML}.Torque", "2")
        answer_last_values(page, "bb", {"Speed": 3})
        console_server.emit("signals", {"ts": at(31), "message": HTML, "values": {"Speed": 3}, "hash": "bb"})
        page.wait_for_function("() => document.querySelectorAll('#signals tr').length === 1")
        assert shown_values(page) == {f"{HTML}.Speed": "3"}


@pytest.mark.parametrize(("status", "logged"), [(404, 0), (503, 1)])
def test_last_values_that_cannot_be_had_leave_the_page_as_it_is(
    console_server: ConsoleServer, chromium: Browser, status: int, logged: int
) -> None:
    page = chromium.new_context().new_page()
    body = {"code": "STORAGE_UNAVAILABLE", "message": "storage does not work", "details": {}}
    page.route(LAST_VALUES, lambda route: route.fulfill(status=status, json=body))
    open_console(page, console_server)
    console_server.emit("can_frame", frame(1, "Engine", {"Speed": 1}))
    wait_for_value(page, "Engine.Speed", "1")
    assert page.locator("#log li:has-text('storage does not work')").count() == logged


def test_only_what_changed_is_drawn_and_not_once_per_event(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    names = [f"S{number}" for number in range(300)]
    count_changes = """() => {
      window.changes = [];
      const note = (record) => changes.push(record.target.closest("tr").cells[0].textContent);
      new MutationObserver((records) => records.forEach(note))
        .observe(document.querySelector("#signals"), { subtree: true, childList: true, characterData: true });
    }"""
    with watched_page(chromium.new_context()) as page:
        open_console(page, console_server)
        console_server.emit("can_frame", frame(0, "Wide", dict.fromkeys(names, 0)))
        page.wait_for_function("() => document.querySelectorAll('#signals tr').length === 300")
        page.evaluate(count_changes)
        values = [dict.fromkeys(names, 0) | {"S7": number} for number in range(1_000)]
        console_server.emit("can_frame", *(frame(0, "Wide", each) for each in values))
        wait_for_value(page, "Wide.S7", "999")
        changes = page.evaluate("changes")
        assert set(changes) == {"Wide.S7"}
        assert len(changes) < len(values) / 10


def test_the_filter_keeps_what_has_every_word_also_when_a_signal_is_new(
    console_server: ConsoleServer, chromium: Browser
) -> None:
    with watched_page(chromium.new_context()) as page:
        open_console(page, console_server)
        console_server.emit("can_frame", frame(1, "Engine", {"Speed": 1, "Torque": 2}))
        wait_for_value(page, "Engine.Speed", "1")
        page.fill("#signal-filter", "speed ENG")
        assert list(shown_values(page)) == ["Engine.Speed"]
        assert page.inner_text("#signal-count") == "1 of 2"
        console_server.emit("can_frame", frame(2, "Wheels", {"Speed": 3}), frame(2, "Engine", {"Speed2": 4}))
        wait_for_value(page, "Wheels.Speed", "3")
        assert list(shown_values(page)) == ["Engine.Speed", "Engine.Speed2"]
        page.fill("#signal-filter", "brake")
        assert page.is_visible("#no-signals")
        page.fill("#signal-filter", "")
        assert page.is_hidden("#no-signals")
        assert len(shown_values(page)) == 4


def test_a_gap_says_what_is_missing_of_which_lane(console_server: ConsoleServer, chromium: Browser) -> None:
    gap = {"from": at(1), "to": at(2), "frames": 1_500, "where": "agent_window"}
    with watched_page(chromium.new_context(locale="en-GB")) as page:
        open_console(page, console_server)
        console_server.emit("gap", gap | {"lane": "signals"}, gap | {"lane": "frames"}, gap)
        page.wait_for_selector("#log li:has-text('gap: ') >> nth=2")
        texts = page.locator("#log li:has-text('gap: ')").all_inner_texts()
        missing = [text.partition("gap: ")[2].partition(" missing")[0] for text in texts]
        assert missing == ["1,500 frames", "1,500 frames", "1,500 signal values"]
