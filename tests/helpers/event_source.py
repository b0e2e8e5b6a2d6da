"""The EventSource of the npm package `eventsource`, in a Node process, following one console stream."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.helpers.lanes import require_lane
from tests.helpers.processes import Process

SCRIPT: Final = Path(__file__).parent.parent / "browser" / "sse_client.mjs"


def require_node() -> None:
    """Skips the module that calls this, or fails it, where a part is missing."""
    has_node = shutil.which("node") is not None
    require_lane("browser", has_node, "node is missing: `apt install nodejs npm`")
    has_package = (SCRIPT.parent / "node_modules" / "eventsource").is_dir()
    require_lane("browser", has_package, "eventsource is missing: `npm ci --prefix tests/browser`")


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """One event as an EventSource dispatched it; `event_id` is None where it has none of its own."""

    event_id: int | None
    event: str
    data: dict[str, Any]


class NodeEventSource(Process):
    """A process that says what it sees, one JSON object a line: requests, comments, events, errors."""

    @classmethod
    def follow(cls, url: str, token: str) -> Self:
        """Start one."""
        return cls(["node", SCRIPT, url], environment={"SSE_TOKEN": token})

    def wait_for_event(self, name: str) -> None:
        """The next event of this name is here."""
        self.wait_for_line(rf'{{"kind":"event","id":(null|"\d+"),"event":"{name}".*')

    def wait_for_frames(self, total: int) -> None:
        """The counts of all `can_frame` events sum to exactly `total`."""
        self.wait_for_line(rf'.*"event":"can_frame","frames":{total},.*')

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What it has said so far of one kind: request, open, comment, event, error."""
        found = [json.loads(line) for line in self.output.splitlines()]
        return [record for record in found if record["kind"] == kind]

    def events(self) -> list[SeenEvent]:
        """Every event so far."""
        return [
            SeenEvent(None if record["id"] is None else int(record["id"]), record["event"], record["data"])
            for record in self.records("event")
        ]

    def resumed_after(self) -> list[int | None]:
        """The Last-Event-ID of every request so far."""
        ids = [record["last_event_id"] for record in self.records("request")]
        return [None if found is None else int(found) for found in ids]
