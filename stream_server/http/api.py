"""One table of routes: what aiohttp serves, who may call it, and what OpenAPI says about it."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from stream_server.access.access import Credential, Needs
from stream_server.cutting import cut
from stream_server.errors import ApiError, StorageError
from stream_server.http.long_answers import LongAnswer
from stream_server.http.services import Services
from stream_server.streams.sse_format import CONTENT_TYPE as EVENT_STREAM

_logger: Final = logging.getLogger(__name__)
_encoder: Final = msgspec.json.Encoder()

API_PREFIX: Final = "/api/v1"
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was let in. `body` is of the route's request type."""

    request: web.Request
    services: Services
    who: Credential | None
    body: Any

    @property
    def credential(self) -> Credential:
        """Who asks; there is always somebody where the route is not open."""
        assert self.who is not None
        return self.who

    @property
    def remote(self) -> str:
        """The client's address."""
        return self.services.access.remote(self.request)

    def path(self, name: str) -> str:
        """A variable part of the path."""
        return self.request.match_info[name]

    def query_int(self, name: str, default: int | None, low: int, high: int) -> int | None:
        """A whole number of the query. ApiError 400 when it is none or out of range."""
        text = self.request.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high):
            raise ApiError(
                400, "BAD_REQUEST", f"{name} must be a whole number from {low} to {high}", {"field": name}
            )
        return int(text)


Answer = msgspec.Struct | web.StreamResponse | LongAnswer
RouteHandler = Callable[[Call], Awaitable[Answer]]
Method = Literal["GET", "POST", "PUT", "DELETE"]


@dataclass(frozen=True, slots=True)
class Route:
    """A path, who may use it, and what goes in and out.

    `request_type` is decoded into `Call.body`; `response_type` is a Struct, or the media type of an answer
    that is no JSON, or None for a WebSocket. `query` names the query parameters. `empty_body`: a request
    without a body is one of the defaults.
    """

    method: Method
    path: str
    needs: Needs
    handler: RouteHandler
    summary: str
    request_type: type[msgspec.Struct] | None = None
    response_type: type[msgspec.Struct] | str | None = None
    status: int = 200
    query: Mapping[str, str] = field(default_factory=dict)
    empty_body: bool = False

    @property
    def refuses_unknown(self) -> bool:
        """Whether a query parameter that is not in `query` is an error, as an unknown key of a file is.

        Libraries for event streams add their own; pages are linked to with what trackers add.
        """
        return self.path.startswith(API_PREFIX) and self.response_type != EVENT_STREAM


def add_routes(app: web.Application, routes: Iterable[Route], services: Services) -> None:
    """Serve every route."""
    for route in routes:
        handler = _adapted(route, services)
        if route.method == "GET":
            app.router.add_get(route.path, handler, allow_head=route.response_type is not None)
        else:
            app.router.add_route(route.method, route.path, handler)


def _adapted(route: Route, services: Services) -> Handler:
    decoder = None if route.request_type is None else msgspec.json.Decoder(route.request_type)

    async def handle(request: web.Request) -> web.StreamResponse:
        who = await services.access.admit(request, route.needs)
        with services.access.holding(who, request):
            if who is not None:
                services.front.signed_in(request, who)
            if route.refuses_unknown:
                _check_query(request, route.query)
            body = None
            if decoder is not None:
                remote = services.access.remote(request)
                sent = await services.front.body(request, who, remote)
                body = _decoded(decoder, b"{}" if route.empty_body and not sent else sent)
            call = Call(request, services, who, body)
            answer = await route.handler(call)
            if isinstance(answer, LongAnswer):
                return await services.long_answers.serve(request, call.credential, answer)
        if isinstance(answer, web.StreamResponse):
            return answer
        return json_response(answer, route.status)

    return handle


def _check_query(request: web.Request, known: Mapping[str, str]) -> None:
    for name in request.query:
        if name in known and len(request.query.getall(name)) > 1:
            raise ApiError(400, "BAD_REQUEST", f"{name} is given more than once", {"field": name})
        if name not in known:
            shown = repr(name[:64])
            near = difflib.get_close_matches(name[:64], known, n=1)
            takes = f"known here are {', '.join(known)}" if known else "there are none here"
            hint = f"did you mean {near[0]}?" if near else takes
            message = f"there is no query parameter {shown}: {hint}"
            raise ApiError(400, "BAD_REQUEST", message, {"field": name[:64]})


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(400, "BAD_REQUEST", f"the body cannot be read: {error}") from error


def json_response(answer: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`answer` as JSON that no cache keeps."""
    return web.Response(
        body=_encoder.encode(answer),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def error_response(error: ApiError) -> web.Response:
    """The JSON answer for an error."""
    body = {"code": error.code, "message": error.message, "details": error.details}
    return json_response(body, error.status, error.headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error leaves as {"code","message","details"}; what was not foreseen tells no internals.

    Where an answer has begun the connection is cut: nobody must take what was sent for the whole.
    """
    try:
        return await handler(request)
    except (ConnectionResetError, ConnectionAbortedError):
        raise
    except Exception as error:
        answer = _as_api_error(request, error)
        if request.writer.output_size > 0:
            if request.transport is not None:
                cut(request.transport)
            raise ConnectionAbortedError("an answer that had begun could not be ended") from error
        return error_response(answer)


def _as_api_error(request: web.Request, error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case web.HTTPException():
            return _from_http(request, error)
        case StorageError():
            _logger.error("%s %s: %s", request.method, request.path, error)
            return ApiError(
                503, "STORAGE_UNAVAILABLE", "nothing can be stored now", headers={"Retry-After": "5"}
            )
        case HttpProcessingError() | web.RequestPayloadError():
            return ApiError(400, "BAD_REQUEST", "the body cannot be read: its encoding is broken")
        case _:
            _logger.error("%s %s failed", request.method, request.path, exc_info=error)
            return ApiError(500, "INTERNAL_ERROR", "the server failed; its log says how")


def _from_http(request: web.Request, error: web.HTTPException) -> ApiError:
    match error:
        case web.HTTPNotFound():
            return ApiError(
                404,
                "NOT_FOUND",
                f"there is nothing at {request.path[:200]}; {API_PREFIX}/openapi.json lists what is",
            )
        case web.HTTPMethodNotAllowed():
            allowed = sorted(error.allowed_methods)
            return ApiError(
                405,
                "METHOD_NOT_ALLOWED",
                f"{request.path[:200]} takes {', '.join(allowed)}",
                {"allowed": allowed},
                {"Allow": ", ".join(allowed)},
            )
        case _:
            status = HTTPStatus(error.status)
            return ApiError(error.status, status.name, status.phrase)


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """What browsers must know about every answer, streams included."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
