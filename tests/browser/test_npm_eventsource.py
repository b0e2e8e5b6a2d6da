"""The npm package `eventsource` as a client: resume, restart of the server, keep-alives, refusals."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.helpers.candump_logs import write_log
from tests.helpers.cutting_proxy import CuttingProxy
from tests.helpers.event_source import NodeEventSource, SeenEvent, require_node
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

require_node()

CONSOLE: Final = "/api/v1/streams/dongles/van7-can0/console"
KEEP_ALIVE_SECONDS: Final = 60.0


def through_last_frame(events: list[SeenEvent]) -> list[SeenEvent]:
    """The events of the stream (those with an id) up to its last frame."""
    with_id = [event for event in events if event.event_id is not None]
    while with_id[-1].event != "can_frame":
        with_id.pop()
    return with_id


def assert_increasing(events: list[SeenEvent]) -> None:
    ids = [event.event_id for event in events if event.event_id is not None]
    assert all(before < after for before, after in pairwise(ids))


def replay_at_once(agent: EnrolledAgent, log: Path) -> None:
    with agent.replay(log, options=["--speed", "max"]) as replay:
        assert replay_summary(replay).lost == 0


def test_a_client_that_is_cut_off_three_times_sees_what_an_undisturbed_one_sees(
    server: StreamServer, agent: EnrolledAgent, tmp_path: Path
) -> None:
    token = server.create_token()
    log = write_log(tmp_path / "drive.log", 600, 150)
    # Places inside of events: what had come of such an event must come again, whole.
    cuts = [3_001, 20_011, 40_503]
    with (
        CuttingProxy(server.port, cuts) as proxy,
        NodeEventSource.follow(server.url + CONSOLE, token) as undisturbed,
        NodeEventSource.follow(proxy.url + CONSOLE, token) as disturbed,
    ):
        undisturbed.wait_for_event("presence")
        disturbed.wait_for_event("presence")
        with agent.replay(log) as replay:
            assert replay_summary(replay).acknowledged == 600
        undisturbed.wait_for_frames(600)
        disturbed.wait_for_frames(600)
        events = disturbed.events()
        assert through_last_frame(events) == through_last_frame(undisturbed.events())
        assert_increasing(events)
        assert undisturbed.resumed_after() == [None]
        resumed_after = disturbed.resumed_after()
    assert resumed_after[0] is None
    assert len(resumed_after) == 1 + len(cuts)
    assert set(resumed_after[1:]) < {event.event_id for event in events}
    assert all(event.event != "stream_reset" for event in events)


def test_a_restart_of_the_server_is_one_reset_and_later_cuts_are_none(
    server: StreamServer, agent: EnrolledAgent, tmp_path: Path
) -> None:
    token = server.create_token()
    log = write_log(tmp_path / "drive.log", 50, 100)
    with (
        CuttingProxy(server.port) as proxy,
        NodeEventSource.follow(proxy.url + CONSOLE, token) as client,
    ):
        client.wait_for_event("presence")
        replay_at_once(agent, log)
        client.wait_for_frames(50)
        server.restart()
        client.wait_for_event("stream_reset")
        client.wait_for_event("presence")
        replay_at_once(agent, log)
        client.wait_for_frames(100)
        proxy.cut()
        replay_at_once(agent, log)
        client.wait_for_frames(150)
        events = client.events()
        resumed_after = client.resumed_after()
    assert_increasing(events)
    reset_at = [number for number, event in enumerate(events) if event.event == "stream_reset"]
    assert len(reset_at) == 1
    reset, state = events[reset_at[0] : reset_at[0] + 2]
    before = [event.event_id for event in events[: reset_at[0]] if event.event_id is not None]
    assert reset.event_id == reset.data["newest_id"]
    assert reset.data["requested_id"] == before[-1]
    assert reset.data["reason"] == "too_old"
    assert (state.event, state.event_id) == ("presence", None)
    assert before[-1] in resumed_after


def test_an_id_from_nowhere_is_answered_with_a_reset_and_the_stream_goes_on(
    server: StreamServer, agent: EnrolledAgent, tmp_path: Path
) -> None:
    token = server.create_token()
    for requested, reason, told in (
        ("1", "too_old", 1),
        ("9" * 19, "unknown", int("9" * 19)),
        ("x", "unknown", None),
    ):
        url = f"{server.url}{CONSOLE}?last_event_id={requested}"
        with NodeEventSource.follow(url, token) as client:
            client.wait_for_event("presence")
            replay_at_once(agent, write_log(tmp_path / "drive.log", 5, 100))
            client.wait_for_frames(5)
            reset, state, *_ = client.events()
        assert (reset.event, reset.data["reason"]) == ("stream_reset", reason)
        assert state.event == "presence"
        # JavaScript has no integers above 2**53: what it made of them is compared.
        assert reset.data["requested_id"] == (None if told is None else int(float(told)))


def test_silence_is_filled_with_keep_alives_on_one_connection(
    server: StreamServer, agent: EnrolledAgent, tmp_path: Path
) -> None:
    with NodeEventSource.follow(server.url + CONSOLE, server.create_token()) as client:
        client.wait_for_event("presence")
        client.wait_for_line(r'{"kind":"comment","text":"keep-alive"}', KEEP_ALIVE_SECONDS)
        replay_at_once(agent, write_log(tmp_path / "drive.log", 5, 100))
        client.wait_for_frames(5)
        assert len(client.records("request")) == 1
        assert client.records("error") == []


def test_a_revoked_token_ends_the_stream_and_is_not_tried_again(
    server: StreamServer, agent: EnrolledAgent
) -> None:
    token = server.create_token()
    with NodeEventSource.follow(server.url + CONSOLE, token) as client:
        client.wait_for_event("presence")
        server.administer("token", "revoke", "1")
        # Node ends by itself when nothing is left to wait for: the EventSource has given up.
        assert client.wait() == 0
        assert client.records("error")[-1] == {"kind": "error", "status": 401, "closed": True}
        assert len(client.records("request")) == 2
