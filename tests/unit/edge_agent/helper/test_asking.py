"""The agent's side of its helper, where that is not there or does not speak."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_agent.errors import HelperError
from edge_agent.helper.asking import empty_queue, is_reachable


async def test_where_there_is_none_that_is_said(tmp_path: Path) -> None:
    assert not is_reachable(tmp_path / "helper.sock")
    with pytest.raises(HelperError, match="does not answer"):
        await empty_queue("can0", tmp_path / "helper.sock")


@pytest.mark.parametrize("said", [b"", b"no line", b"{}x\n", b"y" * 5_000 + b"\n"])
async def test_what_is_no_answer_is_refused(tmp_path: Path, said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    path = tmp_path / "helper.sock"
    async with await asyncio.start_unix_server(answer, path):
        with pytest.raises(HelperError):
            await empty_queue("can0", path)
