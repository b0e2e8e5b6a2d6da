"""Agents: registration, REST presence, the registry."""

from __future__ import annotations

from typing import Final

from can_stream.protocol.control import DevicesReport, Heartbeat
from can_stream.protocol.registration import RegisterRequest, RegisterResponse
from stream_server import clock
from stream_server.access.machines import set_agent
from stream_server.access.standing import DEEDS, Deed
from stream_server.errors import ApiError, not_found
from stream_server.fleet import registry
from stream_server.http.api import API_PREFIX, Call, Route, RouteHandler
from stream_server.http.bodies import AgentList, AgentView, Done, ServiceList
from stream_server.http.views import agent_views, service_view


async def register(call: Call) -> RegisterResponse:
    """An enrolment token in, an agent token out."""
    body: RegisterRequest = call.body
    now_ns = clock.wall_ns()
    try:
        token = await call.services.database.write(
            lambda connection: registry.register(connection, body, now_ns, call.remote)
        )
    except ApiError as error:
        if error.status == 401:
            raise call.services.access.refused(call.request, error.code, error.message) from None
        raise
    await call.services.access.end_void()
    return RegisterResponse(agent_id=body.agent_id, agent_token=token, ws_url=_ws_url(call))


def _ws_url(call: Call) -> str:
    public_url = call.services.config.server.public_url
    if public_url is None:
        scheme = "https" if call.services.access.is_https(call.request) else "http"
        public_url = f"{scheme}://{call.request.host}"
    return f"ws{public_url.removeprefix('http').rstrip('/')}"


async def heartbeat(call: Call) -> Done:
    """The control message `heartbeat` as a request."""
    body: Heartbeat = call.body
    assert call.credential.agent_id is not None
    await call.services.fleet.heartbeat(call.credential.agent_id, clock_synchronised=body.clock_synchronised)
    return Done()


async def report_devices(call: Call) -> Done:
    """The control message `devices_report` as a request."""
    body: DevicesReport = call.body
    assert call.credential.agent_id is not None
    refused = await call.services.fleet.devices(call.credential.agent_id, body.dongles, call.remote)
    if refused:
        raise registry.dongle_conflict(refused)
    return Done()


async def agents(call: Call) -> AgentList:
    """The whole fleet."""
    rows, services = await call.services.database.read(registry.agent_rows)
    return AgentList(agents=agent_views(rows, services, call.services.fleet.presence))


async def agent(call: Call) -> AgentView:
    """One agent."""
    agent_id = call.path("agent_id")
    rows, services = await call.services.database.read(
        lambda connection: registry.agent_rows(connection, agent_id)
    )
    if not rows:
        raise not_found("agent", agent_id)
    return agent_views(rows, services, call.services.fleet.presence)[0]


async def agent_services(call: Call) -> ServiceList:
    """What an agent's services said last."""
    agent_id = call.path("agent_id")
    rows = await call.services.database.read(lambda connection: registry.service_rows(connection, agent_id))
    return ServiceList(agent_id=agent_id, services=[service_view(row) for row in rows])


def _deed(deed: Deed) -> RouteHandler:
    async def do(call: Call) -> Done:
        agent_id, who, now_ns = call.path("agent_id"), call.credential.subject, clock.wall_ns()
        await call.services.database.write(
            lambda connection: set_agent(connection, agent_id, deed, now_ns, who, call.remote)
        )
        await call.services.access.end_void()
        return Done()

    return do


_AGENTS: Final = f"{API_PREFIX}/agents"
ROUTES: Final = (
    Route(
        "POST",
        f"{_AGENTS}/register",
        "open",
        register,
        "Register an agent with an enrolment token",
        RegisterRequest,
        RegisterResponse,
        201,
    ),
    Route("POST", f"{_AGENTS}/heartbeat", "agent", heartbeat, "The agent is alive", Heartbeat, Done),
    Route(
        "POST",
        f"{_AGENTS}/devices/report",
        "agent",
        report_devices,
        "The dongles the agent has now",
        DevicesReport,
        Done,
    ),
    Route("GET", _AGENTS, "viewer", agents, "All agents", response_type=AgentList),
    Route("GET", f"{_AGENTS}/{{agent_id}}", "viewer", agent, "One agent", response_type=AgentView),
    Route(
        "GET",
        f"{_AGENTS}/{{agent_id}}/services",
        "viewer",
        agent_services,
        "What an agent's services said last",
        response_type=ServiceList,
    ),
    *(
        Route(
            "POST",
            f"{_AGENTS}/{{agent_id}}/{deed}",
            "admin",
            _deed(deed),
            summary,
            response_type=Done,
        )
        for deed, summary in DEEDS.items()
    ),
)
