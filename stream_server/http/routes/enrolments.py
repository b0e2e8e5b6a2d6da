"""Enrolment tokens: seen and taken back. They are made by the command line alone."""

from __future__ import annotations

from typing import Final

from stream_server import clock
from stream_server.access import machines
from stream_server.errors import not_found
from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.bodies import Done, EnrolmentList
from stream_server.http.views import enrolment_view


async def enrolments(call: Call) -> EnrolmentList:
    """Every enrolment token, without its secret."""
    rows = await call.services.database.read(machines.enrolment_rows)
    return EnrolmentList(enrolments=[enrolment_view(row) for row in rows])


async def revoke(call: Call) -> Done:
    """Nobody registers with it from now on."""
    text, who, now_ns = call.path("enrolment_id"), call.credential.subject, clock.wall_ns()
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise not_found("enrolment", text[:64])
    await call.services.database.write(
        lambda connection: machines.revoke_enrolment(connection, int(text), now_ns, who, call.remote)
    )
    return Done()


_ENROLMENTS: Final = f"{API_PREFIX}/enrolments"
ROUTES: Final = (
    Route("GET", _ENROLMENTS, "admin", enrolments, "All enrolment tokens", response_type=EnrolmentList),
    Route(
        "POST",
        f"{_ENROLMENTS}/{{enrolment_id}}/revoke",
        "admin",
        revoke,
        "Make an enrolment token void",
        response_type=Done,
    ),
)
