"""Answers a request for a console stream."""

from __future__ import annotations

import random
from typing import Final

from aiohttp import HttpVersion11, web

from stream_server.sse.fanout import FanOut
from stream_server.streams.console import ConsoleStream
from stream_server.streams.sse_format import (
    CONTENT_TYPE,
    RequestError,
    accepts_event_stream,
    choose_last_event_id,
    encode_retry,
    parse_history,
)

CONSOLE_QUERY: Final = {
    "history": "seconds of the ring to replay first",
    "last_event_id": "resume after this event, for clients that cannot set Last-Event-ID",
}
_HEADERS: Final = {
    "Content-Type": f"{CONTENT_TYPE}; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_RETRY_MS: Final = (1_500, 2_500)


async def serve_console(request: web.Request, fanout: FanOut, stream: ConsoleStream) -> web.StreamResponse:
    """Streams until the client goes, stops reading, or the server stops; 400 or 406 for a bad request."""
    if not accepts_event_stream(request.headers.get("Accept")):
        return _refuse(406, "NOT_ACCEPTABLE", f"this resource is {CONTENT_TYPE}", {})
    try:
        history_seconds = parse_history(request.query.get("history"))
    except RequestError as error:
        return _refuse(400, "BAD_REQUEST", str(error), {"field": error.field, "reason": error.reason})
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    transport = request.transport
    if request.method == "HEAD" or transport is None:
        return response
    subscriber = fanout.subscribe(
        stream,
        transport,
        chunked=request.version >= HttpVersion11,
        # Spread, so that the clients of a restarted server do not come back in step.
        opening=encode_retry(random.randint(*_RETRY_MS)),  # noqa: S311 -- no secret
        last_event_id=choose_last_event_id(
            request.headers.get("Last-Event-ID"), request.query.get("last_event_id")
        ),
        history_seconds=history_seconds,
    )
    try:
        await subscriber.done.wait()
    finally:
        fanout.unsubscribe(subscriber)
    return response


def _refuse(status: int, code: str, message: str, details: dict[str, str]) -> web.Response:
    return web.json_response({"code": code, "message": message, "details": details}, status=status)
