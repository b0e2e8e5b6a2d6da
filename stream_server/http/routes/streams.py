"""The live console and its sampling limit, the same for everything that has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.bodies import Sampling
from stream_server.http.services import Services
from stream_server.sse.endpoint import CONSOLE_QUERY, serve_console
from stream_server.streams.console import ConsoleStream
from stream_server.streams.sse_format import CONTENT_TYPE


class Streamed(Protocol):
    """What has consoles, by id. ApiError where there is none of that id."""

    def stream(self, name: str, /) -> ConsoleStream:
        """The console."""

    async def set_sampling(self, name: str, limit: int | None, actor: str, remote: str, /) -> None:
        """A new limit of the console, stored; None is no limit."""


def stream_routes(kind: str, key: str, of: Callable[[Services], Streamed], summary: str) -> tuple[Route, ...]:
    """Those below /streams/`kind`/{`key`}; `summary`: what the console shows."""

    async def console(call: Call) -> web.StreamResponse:
        stream = of(call.services).stream(call.path(key))
        with call.services.access.slot("streams", call.credential):
            return await serve_console(call.request, call.services.fanout, stream)

    async def sampling(call: Call) -> Sampling:
        stream = of(call.services).stream(call.path(key))
        return Sampling(max_frames_per_second=stream.max_frames_per_second)

    async def set_sampling(call: Call) -> Sampling:
        body: Sampling = call.body
        limit, actor = body.max_frames_per_second, call.credential.subject
        await of(call.services).set_sampling(call.path(key), limit, actor, call.remote)
        return body

    place = f"{API_PREFIX}/streams/{kind}/{{{key}}}"
    limit, change = "The console's sampling limit", "Set the sampling limit"
    return (
        Route(
            "GET",
            f"{place}/console",
            "viewer",
            console,
            summary,
            response_type=CONTENT_TYPE,
            query=CONSOLE_QUERY,
        ),
        Route("GET", f"{place}/sampling", "viewer", sampling, limit, response_type=Sampling),
        Route("PUT", f"{place}/sampling", "operator", set_sampling, change, Sampling, Sampling),
    )
