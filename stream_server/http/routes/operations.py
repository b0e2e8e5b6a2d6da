"""Health, metrics, the audit trail, the OpenAPI document, the page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web
from msgspec import UNSET
from sqlalchemy import Connection

from stream_server.access import audit
from stream_server.errors import ApiError
from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.bodies import AuditPage, Health
from stream_server.http.views import audit_view
from stream_server.metrics import CONTENT_TYPE

AUDIT_PAGE: Final = 100
_STATIC: Final = Path(__file__).parent.parent / "static"
_FILES: Final = {
    "console.js": "text/javascript",
    "follower.js": "text/javascript",
    "groups.js": "text/javascript",
    "rates.js": "text/javascript",
    "signals.js": "text/javascript",
    "page.js": "text/javascript",
    "console.css": "text/css",
    "icon.svg": "image/svg+xml",
}


async def healthz(_call: Call) -> Health:
    """The process answers."""
    return Health()


async def readyz(call: Call) -> Health | web.Response:
    """Both files take a write."""
    fault = await call.services.readiness.fault()
    if fault is not None:
        raise ApiError(503, "STORAGE_UNAVAILABLE", f"storage does not work: {fault}")
    warning = call.services.retention.warning
    return Health(warnings=UNSET if warning is None else [warning])


async def metrics(call: Call) -> web.Response:
    """The Prometheus text format."""
    return web.Response(
        body=call.services.metrics.exposition(),
        headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"},
    )


async def audit_page(call: Call) -> AuditPage:
    """The audit trail, newest first."""
    before = call.query_int("before", None, 1, 2**63 - 1)
    limit = call.query_int("limit", AUDIT_PAGE, 1, 1000) or AUDIT_PAGE

    def job(connection: Connection) -> AuditPage:
        rows, more = audit.page(connection, before, limit)
        return audit_view(rows, more=more)

    return await call.services.database.read(job)


async def page(_call: Call) -> web.Response:
    """The console page."""
    return _static("index.html", "text/html")


async def static_file(call: Call) -> web.Response:
    """A file of the page."""
    name = call.path("name")
    if name not in _FILES:
        raise ApiError(404, "NOT_FOUND", f"there is nothing at {call.request.path[:200]}")
    return _static(name, _FILES[name])


def _static(name: str, content_type: str) -> web.Response:
    return web.Response(
        body=(_STATIC / name).read_bytes(),
        content_type=content_type,
        charset="utf-8",
        headers={"Cache-Control": "no-cache"},
    )


ROUTES: Final = (
    Route("GET", "/healthz", "open", healthz, "Is the process alive", response_type=Health),
    Route("GET", "/readyz", "open", readyz, "Can everything be stored", response_type=Health),
    Route("GET", "/metrics", "viewer", metrics, "Prometheus metrics", response_type="text/plain"),
    Route(
        "GET",
        f"{API_PREFIX}/audit",
        "admin",
        audit_page,
        "The audit trail, newest first",
        response_type=AuditPage,
        query={"before": "only records older than this id", "limit": "1 to 1000, default 100"},
    ),
    Route("GET", "/", "open", page, "The console page", response_type="text/html"),
    Route("GET", "/static/{name}", "open", static_file, "A file of the page", response_type="text/html"),
)
