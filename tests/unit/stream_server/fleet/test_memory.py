"""What an agent is told when it takes more memory than its share, and what becomes of its consoles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream_server import clock
from stream_server.fleet.memory import Memory
from stream_server.storage.database import Database
from tests.helpers.server_parts import ServerParts, Watcher, enrol, new_recording, new_storage


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[ServerParts]:
    database, recording = Database(new_storage(tmp_path)), Database(new_recording(tmp_path))
    await enrol(database, "van7", "can0", "can1")
    await enrol(database, "van8", "can8")
    started = await ServerParts(database, recording).start()
    yield started
    await started.recorder.close()
    await database.close()
    await recording.close()


def say(parts: ServerParts, agent_id: str, text: str) -> None:
    parts.fleet.log(agent_id, {"level": "info", "source": "x", "message": text, "details": {}})


async def test_an_agent_over_its_share_is_told_and_its_consoles_forget_the_oldest(parts: ServerParts) -> None:
    memory = Memory(parts.fleet, parts.hub, 400_000, {"other": lambda: 5})
    console, others = parts.watch("can0"), parts.watch("can8")
    say(parts, "van8", "all is well")
    for number in range(6):
        say(parts, "van7", f"{number}" * 20_000)
    assert memory.ledger()["shared_events"] > 120_000, "kept once, though two consoles have it"
    assert memory.ledger()["other"] == 5
    assert len(console.told("log")) == 6
    memory.tick()
    assert (memory.is_over("van7"), memory.is_over("van8")) == (True, False)
    said = [event["message"] for event in console.told("log")]
    assert "more of the server's memory than its share" in said[0]
    assert [event["message"] for event in others.told("log")] == ["all is well"]
    memory.tick()
    assert not memory.is_over("van7")
    assert sum(memory.ledger().values()) < 100_000


async def test_a_group_that_takes_too_much_forgets_and_harms_neither_agent(parts: ServerParts) -> None:
    memory = Memory(parts.fleet, parts.hub, 400_000, {})
    stream = parts.hub.add_group("bridge", ("can0", "can8"), lambda _presences: {}, clock.now())
    console = Watcher(stream)
    for number in range(6):
        stream.emit("log", {"message": f"{number}" * 20_000}, clock.now())
    assert memory.ledger()["consoles"] > 120_000
    assert len(console.told("log")) == 6
    memory.tick()
    assert (memory.is_over("van7"), memory.is_over("van8"), memory.is_over("bridge")) == (False,) * 3
    (said,) = (event["message"] for event in console.told("log"))
    assert said.startswith("group bridge takes more of the server's memory than its share: its console")
    assert memory.ledger()["consoles"] < 110_000
