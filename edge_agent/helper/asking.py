"""The agent's side: asks the helper."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from edge_agent.errors import HelperError
from edge_agent.helper.words import MAX_LINE_BYTES, SOCKET, Answer, Request, decode_answer, encode

# It has to be started, and a driver may take seconds to open its device.
_PATIENCE_SECONDS: Final = 10.0
_PLACE: Final = Path(SOCKET)


def is_reachable(place: Path = _PLACE) -> bool:
    """Whether there is a helper on this machine, which starts when it is asked."""
    return place.is_socket()


async def empty_queue(channel: str, place: Path = _PLACE) -> Answer:
    """Has the interface taken down and up. Raises HelperError where nobody answers."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(place), limit=MAX_LINE_BYTES)
            try:
                writer.write(encode(Request("empty_queue", channel)))
                return decode_answer(await reader.readline())
            finally:
                writer.close()
    except (OSError, ValueError) as error:  # TimeoutError is an OSError; ValueError: a line without an end
        raise HelperError(f"the helper does not answer: {error or type(error).__name__}") from error
