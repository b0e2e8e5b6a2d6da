"""What an operator asks a server about its groups."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from tests.helpers.conditions import eventually
from tests.helpers.processes import StreamServer

_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class GroupOperator:
    """One with a token of its own."""

    def __init__(self, server: StreamServer) -> None:
        self._server = server
        self._token = server.create_token("operator")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A request below /api/v1/groups."""
        request = urllib.request.Request(
            f"{self._server.url}/api/v1/groups{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        with _OPENER.open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def make(self, group_id: str, dongle_a_id: str, dongle_b_id: str) -> None:
        """A group, once both dongles are known."""
        wanted = {"group_id": group_id, "dongle_a_id": dongle_a_id, "dongle_b_id": dongle_b_id}

        def made() -> bool:
            with contextlib.suppress(urllib.error.HTTPError):
                self.ask("POST", "", wanted)
                return True
            return False

        eventually(made, "both dongles are known")
