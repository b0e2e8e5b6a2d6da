"""`books` and `holes close`: what they print and change, with and without a server that runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Connection, select

from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.registration import RegisterRequest
from stream_server import cli_holdings
from stream_server.access import audit
from stream_server.access.machines import create_enrolment
from stream_server.fleet import registry
from stream_server.main import main
from stream_server.recording import hole_keeper, openings, start_store
from stream_server.storage import data_directory
from stream_server.storage import server_schema as schema
from stream_server.storage.data_directory import DataDirectory
from tests.helpers import recordings
from tests.helpers.server_parts import OTHER_START, START, dongle, frames_packet


def run(directory: DataDirectory, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--data-dir", str(directory.path)])


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = data_directory.prepare(tmp_path)

    def registered(connection: Connection) -> None:
        token = create_enrolment(connection, None, 1, 0, "test")
        registry.register(connection, RegisterRequest(token, "van7"), 0, None)
        registry.list_dongles(connection, "van7", [dongle("can0"), dongle("can1")], 0, None)

    made.administer(registered)
    made.administer_recording(lambda c: recordings.record(c, frames_packet(1, 10, START, 0)))
    return made


def announce(directory: DataDirectory, frames: int) -> None:
    """The agent lists what it does not send."""

    def job(connection: Connection) -> None:
        lane_id = start_store.lane_id_of(connection, "can0", "frames")
        listed = BacklogRange(OTHER_START, 1, 9, 0, frames, None)
        hello = LaneHello("can0", "frames", 2, [listed], next_frame=10)
        openings.store(connection, openings.Said(lane_id, hello, START, None, 0.0))

    directory.administer_recording(job)


def audited(directory: DataDirectory) -> list[tuple[str, str, Any]]:
    table = schema.audit
    query = select(table.c.action, table.c.subject, table.c.after).order_by(table.c.id.desc()).limit(1)
    return directory.administer(lambda c: [(*row[:2], json.loads(row[2])) for row in c.execute(query)])


def test_books_that_add_up_are_status_0_and_holes_are_status_1(directory: DataDirectory) -> None:
    fine = run(directory, "books", "can0")
    assert fine.exit_code == 0, fine.output
    assert fine.stdout.splitlines()[-1] == "everything adds up"
    lost = {"lanes": 0, "lost": [], "is_sure": False}
    what = {"actor": "server", "action": "recording.damaged", "subject": "file:recording.damaged-1.sqlite3"}
    directory.administer(lambda c: audit.record(c, 1_764_000_000_000_000_000, after=lost, **what))
    unsure = run(directory, "books", "can0")
    assert unsure.exit_code == 0
    assert "set aside at 2025-11-24 16:00 UTC and could be read not at all" in unsure.stdout
    assert unsure.stdout.splitlines()[-1] == "what is known adds up"
    announce(directory, 30)
    open_holes = run(directory, "books", "can0")
    assert open_holes.exit_code == 1
    assert "30 frames are known of, and neither here nor given up" in open_holes.stdout
    found = json.loads(run(directory, "books", "can0", "--json").stdout)
    assert [(one["made"], one["recorded"], one["in_holes"]) for one in found["starts"]] == [
        (10, 10, 0), (30, 0, 30),
    ]  # fmt: skip
    assert len(found["differences"]) == 1


def test_a_dongle_without_a_frame_has_books_and_an_unknown_one_none(directory: DataDirectory) -> None:
    assert run(directory, "books", "can1").exit_code == 0
    unknown = run(directory, "books", "nobodys")
    assert unknown.exit_code == 1
    assert "there is no dongle 'nobodys'" in unknown.stderr


def test_holes_are_closed_where_no_server_runs(directory: DataDirectory) -> None:
    announce(directory, 30)
    closed = run(directory, "holes", "close", "van7")
    assert closed.exit_code == 0, closed.output
    assert closed.stderr == "30 frames and values are given up\n"
    assert run(directory, "books", "can0").exit_code == 0
    assert audited(directory) == [("holes.close", "agent:van7", {"frames": 30})]
    assert run(directory, "holes", "close", "van7").stderr == "0 frames and values are given up\n"
    assert "there is no agent 'van8'" in run(directory, "holes", "close", "van8").stderr


def test_a_server_that_runs_is_asked_and_waited_for(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(directory, 30)
    monkeypatch.setattr(cli_holdings, "_LOOK_SECONDS", 0.01)
    results: list[Result] = []
    with data_directory.locked(directory.path):
        asking = threading.Thread(target=lambda: results.append(run(directory, "holes", "close", "van7")))
        asking.start()
        while not directory.look_at_recording(hole_keeper._asked):
            pass
        directory.administer_recording(lambda c: hole_keeper._answer(c, 1, 30))
        asking.join(timeout=20)
    assert [result.stderr for result in results] == ["30 frames and values are given up\n"]


def test_a_server_that_does_not_answer_is_named(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_holdings, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(cli_holdings, "_PATIENCE_SECONDS", 0.05)
    with data_directory.locked(directory.path):
        result = run(directory, "holes", "close", "van7")
    assert result.exit_code == 1
    assert "has not closed the holes yet" in result.stderr
