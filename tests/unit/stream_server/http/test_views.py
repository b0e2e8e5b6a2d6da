"""Stored rows and live presence as bodies: which of both counts where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection

from can_stream.protocol.control import Hello, ServiceStatus
from can_stream.protocol.registration import RegisterRequest
from stream_server.access.machines import create_enrolment
from stream_server.fleet import registry
from stream_server.fleet.presence import Presence
from stream_server.http.views import agent_views, dongle_view
from stream_server.recording.lane_numbers import LaneNumbers
from stream_server.storage.database import open_engine
from tests.helpers.server_parts import START, TABLE, dongle, new_storage

SECOND_NS = 1_000_000_000
NOON_NS = 1_766_404_800 * SECOND_NS
UPLINK = ServiceStatus(
    "van7/uplink", "uplink", "Uplink", "uplink", 1, "DEGRADED", "no network", "x", {"lost": 3}
)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(new_storage(tmp_path))
    with engine.begin() as connection:
        for agent_id in ("van7", "van8"):
            token = create_enrolment(connection, None, 1, NOON_NS, "test")
            registry.register(connection, RegisterRequest(token, agent_id), NOON_NS, "192.0.2.7")
        listed = [dongle("van7-b", frames="off", signal_tables=[TABLE]), dongle("van7-a", bitrate=500_000)]
        hello = Hello("van7", START, "boot", 1, 2, True, "1.2.3", listed)
        registry.started(connection, hello, NOON_NS, "192.0.2.8")
        registry.list_dongles(connection, "van7", listed, NOON_NS, None)
        registry.store_services(connection, "van7", [UPLINK])
        yield connection
    engine.dispose()


def test_agents_come_in_their_order_with_their_dongles_and_services(storage: Connection) -> None:
    van7, van8 = agent_views(*registry.agent_rows(storage), Presence())
    assert (van7.agent_id, van7.dongles, van7.services) == ("van7", ["van7-a", "van7-b"], [UPLINK])
    assert (van7.version, van7.start_id, van7.clock_synchronised) == ("1.2.3", START, True)
    assert (van7.created_at, van7.remote) == ("2025-12-22T12:00:00.000000Z", "192.0.2.8")
    assert (van8.dongles, van8.services, van8.start_id, van8.clock_synchronised) == ([], [], None, None)
    assert (van8.online, van8.reason, van8.last_seen) == (False, "server_started", None)
    assert msgspec.json.decode(msgspec.json.encode(van7))["services"][0]["metrics"] == {"lost": 3}


@pytest.mark.parametrize(("seen_after_seconds", "shown"), [(-60, "12:00:00"), (60, "12:01:00")])
def test_an_agent_was_last_seen_when_storage_or_presence_saw_it_last(
    storage: Connection, seen_after_seconds: int, shown: str
) -> None:
    presence = Presence()
    presence.seen("van7", 5.0, NOON_NS + seen_after_seconds * SECOND_NS)
    (van7,) = agent_views(*registry.agent_rows(storage, "van7"), presence)
    assert (van7.online, van7.reason) == (True, "heartbeat")
    assert van7.last_seen == f"2025-12-22T{shown}.000000Z"


def test_a_dongle_is_shown_as_it_is_listed_and_online_as_its_agent_is(storage: Connection) -> None:
    presence = Presence()
    presence.seen("van7", 5.0, NOON_NS)
    registry.list_dongles(storage, "van7", [dongle("van7-b", frames="off", signal_tables=[TABLE])], 0, None)
    unlisted, listed = (
        dongle_view(row, presence, LaneNumbers(frames=3)) for row in registry.dongle_rows(storage)
    )
    assert (listed.frames, listed.signal_table, listed.bitrate) == ("off", TABLE, None)
    assert (unlisted.frames, unlisted.signal_table, unlisted.bitrate) == ("all", None, 500_000)
    assert (listed.listed, listed.presence.online, listed.presence.reason) == (True, True, "heartbeat")
    assert (unlisted.listed, unlisted.presence.online, unlisted.presence.reason) == (False, False, "unlisted")
    assert listed.presence.clock_synchronised
    assert listed.presence.agent_id == listed.agent_id == "van7"
    assert (listed.recording.frames, listed.recording.deleted_frames) == (3, 0)
