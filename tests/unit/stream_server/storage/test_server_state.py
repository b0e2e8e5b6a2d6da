"""Small facts over restarts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stream_server.storage import server_state
from stream_server.storage.database import Database
from tests.helpers.server_parts import new_storage


async def test_the_last_word_on_a_key_is_there_after_a_restart_and_no_other_key_is_touched(
    tmp_path: Path,
) -> None:
    path = new_storage(tmp_path)
    database = Database(path)
    for key, value in (("a", "1"), ("b", ""), ("a", "2")):
        await database.write(partial(server_state.put, key=key, value=value))
    await database.close()
    again = Database(path)
    known = [await again.read(partial(server_state.get, key=key)) for key in ("a", "b", "c")]
    await again.close()
    assert known == ["2", "", None]
