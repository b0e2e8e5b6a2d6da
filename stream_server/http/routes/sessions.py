"""Browser sessions: the admin link, who am I, the CSRF token, the end."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from stream_server import clock
from stream_server.access import credentials
from stream_server.access.access import SESSION_COOKIE
from stream_server.access.secrets import csrf_token
from stream_server.errors import ApiError
from stream_server.http.api import API_PREFIX, Call, Route, json_response
from stream_server.http.bodies import Csrf, Done, LinkRequest, Me


async def link(call: Call) -> web.Response:
    """Exchange the token of a link for a session cookie."""
    body: LinkRequest = call.body
    now_ns = clock.wall_ns()
    seconds = call.services.config.limits.session_hours * 3600
    try:
        session = await call.services.database.write(
            lambda connection: credentials.redeem_link(connection, body.token, seconds, now_ns, call.remote)
        )
    except ApiError as error:
        raise call.services.access.refused(call.request, error.code, error.message) from None
    response = json_response(Csrf(csrf_token=csrf_token(session)))
    response.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=int(seconds),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=call.services.access.is_https(call.request),
    )
    return response


async def logout(call: Call) -> web.Response:
    """Close the browser's session. A token is not closed but revoked."""
    who = call.credential
    if who.kind != "session":
        raise ApiError(400, "NO_SESSION", "this is no browser session; revoke a token with `token revoke`")
    now_ns = clock.wall_ns()
    await call.services.database.write(
        lambda connection: credentials.close_session(connection, who.subject, now_ns, call.remote)
    )
    response = json_response(Done())
    response.del_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Strict")
    return response


async def me(call: Call) -> Me:
    """Who is asking."""
    who = call.credential
    assert who.role is not None
    assert who.kind != "agent"
    token = csrf_token(who.secret) if who.kind == "session" else None
    return Me(subject=who.subject, role=who.role, kind=who.kind, csrf_token=token)


async def csrf(call: Call) -> Csrf:
    """The CSRF token of the session, if there is one."""
    try:
        who = await call.services.access.identify(call.request)
    except ApiError as error:
        if error.status != 401:
            raise
        who = None
    return Csrf(csrf_token=csrf_token(who.secret) if who is not None and who.kind == "session" else None)


_AUTH: Final = f"{API_PREFIX}/auth"
ROUTES: Final = (
    Route("POST", f"{_AUTH}/link", "open", link, "Sign in with an admin link's token", LinkRequest, Csrf),
    Route("POST", f"{_AUTH}/logout", "viewer", logout, "Close this browser session", response_type=Done),
    Route("GET", f"{_AUTH}/me", "viewer", me, "Who is asking", response_type=Me),
    Route("GET", f"{_AUTH}/csrf", "open", csrf, "The session's CSRF token", response_type=Csrf),
)
