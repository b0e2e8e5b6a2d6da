"""The console over a server's life: resumed after restarts, killed or with its clock set back."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.helpers.agents import list_dongle, log_dongle, run_agent
from tests.helpers.candump_logs import write_log
from tests.helpers.console_client import ConsoleClient
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary
from tests.helpers.sse_streams import Event, counted

DAY_US = 86_400_000_000


def ids(events: list[Event]) -> list[int]:
    return [event.event_id for event in events if event.event_id is not None]


def is_increasing(numbers: list[int]) -> bool:
    return all(before < after for before, after in pairwise(numbers))


@pytest.mark.parametrize("how", ["stopped", "killed", "killed, clock set back a day"])
def test_after_a_restart_a_resumed_console_is_reset_once_and_ids_go_on(tmp_path: Path, how: str) -> None:
    log = write_log(tmp_path / "drive.log", 300, 1_000)
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token, dongle_id = server.create_token(), list_dongle(server, agent)
        with ConsoleClient(server.url, dongle_id, token) as console:
            with agent.replay(log) as process:
                replay_summary(process)
            console.wait_for(lambda events: counted(events) == 300)
            seen = ids(console.events)
            last_id = console.last_id
        if how == "stopped":
            server.stop()
        else:
            server.process.kill()
        if "clock" in how:
            # What the server sees when its clock has been set back: a reservation far ahead of the clock.
            _raise_reservation(server, DAY_US)
        server.start()
        with ConsoleClient(server.url, dongle_id, token, str(last_id)) as console:
            console.wait_for(lambda events: [e for e in events if e.event == "presence"])
            with agent.replay(log) as process:
                replay_summary(process)
            console.wait_for(lambda events: counted(events) == 300)
            events = console.events
            console.assert_books()
        assert [event.event for event in events].count("stream_reset") == 1
        assert events[0].event == "stream_reset"
        assert events[0].payload["reason"] == "too_old"
        assert events[0].payload["requested_id"] == last_id
        assert is_increasing(seen + ids(events))
        if "clock" in how:
            assert min(ids(events)) > time.time_ns() // 1000 + DAY_US // 2
        # What the reset carried is itself resumable, and everything behind it comes again.
        with ConsoleClient(server.url, dongle_id, token, str(ids(events)[0])) as again:
            again.wait_for(lambda others: ids(others)[-1:] >= ids(events)[-1:])
            assert ids(again.events)[: len(ids(events)) - 1] == ids(events)[1:]


def _raise_reservation(server: StreamServer, ahead_us: int) -> None:
    with contextlib.closing(sqlite3.connect(server.data_dir / "server.sqlite3")) as database:
        changed = database.execute(
            "UPDATE server_state SET value = CAST(CAST(value AS INTEGER) + ? AS TEXT)"
            " WHERE key = 'id_reservation_us'",
            (ahead_us,),
        )
        assert changed.rowcount == 1
        database.commit()


def test_books_are_true_while_frames_come_faster_than_they_are_shown(tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 24_000, 8_000)
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token, dongle_id = server.create_token(), list_dongle(server, agent, "log")
        with (
            ConsoleClient(server.url, dongle_id, token) as console,
            run_agent(agent, server.url, [log_dongle(log, dongle_id)]) as process,
        ):
            console.wait_for(lambda events: counted(events) > 8_000)
            # Who joins in the middle has books that are true from there on.
            with ConsoleClient(server.url, dongle_id, token) as late:
                assert process.wait() == 0
                for client in (console, late):
                    client.wait_for(lambda events: [e for e in events if e.payload.get("reason") == "closed"])
                    client.assert_books()
                # What was read before the agent was connected came as backlog, which is not shown.
                assert 0 < counted(late.events) < counted(console.events) <= 24_000
            shown = [event for event in console.events if event.event == "can_frame"]
            assert len(shown) < 2_000
            told = [e for e in console.events if e.event == "log" and e.payload["source"] == "sampler"]
            assert [event.payload["details"]["active"] for event in told][:1] == [True]
            assert told[-1].payload["details"]["active"] is False
