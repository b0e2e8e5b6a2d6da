"""Small facts over restarts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stream_server.storage import kept_facts
from stream_server.storage.database import Database
from stream_server.storage.kept_facts import Key
from stream_server.storage.server_schema import server_state
from tests.helpers.server_parts import new_storage


async def test_the_last_word_on_a_key_is_there_after_a_restart_and_no_other_key_is_touched(
    tmp_path: Path,
) -> None:
    path = new_storage(tmp_path)
    database = Database(path)
    for name, value in (("a", "1"), ("b", ""), ("a", "2")):
        await database.write(partial(kept_facts.put, key=Key(name, server_state), value=value))
    await database.close()
    again = Database(path)
    known = [await again.read(partial(kept_facts.get, key=Key(name, server_state))) for name in "abc"]
    await again.close()
    assert known == ["2", "", None]
