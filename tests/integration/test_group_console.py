"""Two gateways as processes, one console: every frame of both where a user sees it, also after a restart."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.agents import list_dongle, log_dongle, run_agent
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.console_client import ConsoleClient
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary
from tests.helpers.sse_streams import Event, counted

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
FRAMES = 300


def change(server: StreamServer, token: str, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"{server.url}/api/v1/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with _OPENER.open(request, timeout=30) as answer:
        return json.loads(answer.read())


def by_dongle(events: list[Event]) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in events:
        if event.event == "can_frame":
            found[event.payload["dongle_id"]] += event.payload["count"]
    return found


def data_of(events: list[Event], dongle_id: str) -> list[str]:
    return [
        event.payload["data_hex"].replace(" ", "")
        for event in events
        if event.event == "can_frame" and event.payload["dongle_id"] == dongle_id
    ]


def replay_both(agents: list[EnrolledAgent], logs: list[Path]) -> None:
    with agents[0].replay(logs[0]) as one, agents[1].replay(logs[1]) as other:
        replay_summary(one)
        replay_summary(other)


def test_two_replays_are_one_stream_before_and_after_a_restart_until_the_group_goes(tmp_path: Path) -> None:
    logs = [write_log(tmp_path / f"{name}.log", FRAMES, 200) for name in ("one", "other")]
    with StreamServer(tmp_path / "server") as server:
        agents = [EnrolledAgent(server, name, tmp_path) for name in ("van7", "van8")]
        operator, viewer = server.create_token("operator"), server.create_token()
        dongles = [list_dongle(server, agent) for agent in agents]
        body = {"group_id": "van7-can0", "dongle_a_id": dongles[0], "dongle_b_id": dongles[1]}
        assert change(server, operator, "POST", "groups", body)["group_id"] == "van7-can0", "as a dongle is"
        change(server, operator, "PUT", "streams/groups/van7-can0/sampling", {"max_frames_per_second": None})
        expected = [f"{number:08X}" for number in range(FRAMES)]
        with (
            ConsoleClient(server.url, "van7-can0", viewer, kind="groups") as group,
            ConsoleClient(server.url, dongles[0], viewer) as own,
        ):
            replay_both(agents, logs)
            group.wait_for(lambda events: counted(events) == 2 * FRAMES)
            own.wait_for(lambda events: counted(events) == FRAMES)
            events = group.events
            group.assert_books()
            assert by_dongle(own.events) == {dongles[0]: FRAMES}
        assert by_dongle(events) == dict.fromkeys(dongles, FRAMES)
        for dongle_id in dongles:
            assert data_of(events, dongle_id) == expected, "each in the order of its bus"
        first_of_each = [data_of(events[: len(events) // 2], dongle_id)[:1] for dongle_id in dongles]
        assert first_of_each == [expected[:1]] * 2, "both at once, not one after the other"
        numbers = [event.event_id for event in events if event.event_id is not None]
        assert all(before < after for before, after in pairwise(numbers))

        half = numbers[len(numbers) // 2]
        with ConsoleClient(server.url, "van7-can0", viewer, str(half), "groups") as resumed:
            resumed.wait_for(lambda found: found and found[-1].event_id and found[-1].event_id >= numbers[-1])
            again = [event.event_id for event in resumed.events]
        assert again[: len(numbers) - len(numbers) // 2 - 1] == numbers[len(numbers) // 2 + 1 :]

        server.process.kill()
        server.start()
        with ConsoleClient(server.url, "van7-can0", viewer, str(numbers[-1]), "groups") as group:
            replay_both(agents, logs)
            group.wait_for(lambda found: counted(found) == 2 * FRAMES)
            group.assert_books()
            events = group.events
            assert [event.event for event in events][:4] == ["stream_reset", "group_state", *["presence"] * 2]
            assert by_dongle(events) == dict.fromkeys(dongles, FRAMES)
            assert min(event.event_id for event in events if event.event_id is not None) > numbers[-1]
            change(server, operator, "DELETE", "groups/van7-can0")
            eventually(lambda: group.ended, "the end of the stream")
            assert group.events[-1].payload["message"] == "group van7-can0 was deleted: this stream ends"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            server.read("/api/v1/streams/groups/van7-can0/console", viewer)
        with ConsoleClient(server.url, dongles[0], viewer) as own, agents[0].replay(logs[0]) as process:
            replay_summary(process)
            own.wait_for(lambda found: counted(found) == FRAMES)


def test_a_flood_on_one_side_is_sampled_and_the_other_side_stays_in_sight(tmp_path: Path) -> None:
    flood = write_log(tmp_path / "flood.log", 24_000, 8_000)
    calm = write_log(tmp_path / "calm.log", 30, 10)
    with StreamServer(tmp_path / "server") as server:
        agents = [EnrolledAgent(server, name, tmp_path) for name in ("van7", "van8")]
        operator, viewer = server.create_token("operator"), server.create_token()
        dongles = [list_dongle(server, agent, "log") for agent in agents]
        body = {"group_id": "bridge", "dongle_a_id": dongles[0], "dongle_b_id": dongles[1]}
        change(server, operator, "POST", "groups", body)
        with ConsoleClient(server.url, "bridge", viewer, kind="groups") as group:
            with (
                run_agent(agents[0], server.url, [log_dongle(flood, dongles[0])]) as one,
                run_agent(agents[1], server.url, [log_dongle(calm, dongles[1])]) as other,
            ):
                assert (one.wait(), other.wait()) == (0, 0)
            group.wait_for(
                lambda found: [e for e in found if e.event_id and e.payload.get("offline_side") == "AB"]
            )
            group.assert_books()
            events = group.events
        shown = [event for event in events if event.event == "can_frame"]
        assert len(shown) < 2_000
        found = by_dongle(events)
        assert found[dongles[0]] > 8_000
        assert found[dongles[1]] > 20, "rare ids appear every time"
        told = [e.payload["message"] for e in events if e.event == "log" and e.payload["source"] == "sampler"]
        assert told
