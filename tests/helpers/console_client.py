"""A console's subscriber over plain HTTP: reads events in a thread of its own, and checks the books."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from tests.helpers.sse_streams import Event, books, counted

_TIMEOUT_SECONDS: Final = 30.0


class ConsoleClient:
    """Follows one dongle's console, or a group's, from `__enter__` on, until the server ends the stream."""

    def __init__(
        self,
        url: str,
        name: str,
        token: str,
        last_event_id: str | None = None,
        kind: Literal["dongles", "groups"] = "dongles",
    ) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {token}"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        self._connection.request("GET", f"/api/v1/streams/{kind}/{name}/console", headers=headers)
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        self._news = threading.Condition()
        self._events: list[Event] = []
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(2)
        self._connection.close()

    @property
    def events(self) -> list[Event]:
        """Every event so far."""
        with self._news:
            return list(self._events)

    @property
    def ended(self) -> bool:
        """Whether the server has ended the stream."""
        with self._news:
            return self._ended

    @property
    def last_id(self) -> int:
        """What an EventSource would resume after."""
        return max(event.event_id for event in self.events if event.event_id is not None)

    def wait_for(
        self, condition: Callable[[list[Event]], Any], timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> Any:
        """The first truthy value of `condition` over the events so far. AssertionError with the last ones."""
        found = None

        def look() -> bool:
            nonlocal found
            found = condition(self._events)
            return bool(found) or self._ended

        with self._news:
            in_time = self._news.wait_for(look, timeout_seconds)
            shown = [(event.event_id, event.event, event.payload) for event in self._events[-5:]]
        assert in_time, f"not within {timeout_seconds} s; the last events: {shown}"
        assert found, f"the stream ended; the last events: {shown}"
        return found

    def assert_books(self) -> None:
        """At every event with books, what was counted since joining is what the books say."""
        start: int | None = None
        total = 0
        for event in self.events:
            if event.event == "can_frame":
                total += counted([event])
            elif event.event in ("group_state", "presence", "stream_reset"):
                if start is None or event.event == "stream_reset":
                    start, total = books(event.payload), 0
                assert total == books(event.payload) - start, event

    def _read(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            fields: dict[str, str] = {}
            while line := self._response.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                else:
                    self._dispatch(fields)
                    fields = {}
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _dispatch(self, fields: dict[str, str]) -> None:
        if "data" not in fields:
            return
        event_id = int(fields["id"]) if "id" in fields else None
        with self._news:
            self._events.append(Event(event_id, fields["event"], json.loads(fields["data"])))
            self._news.notify_all()
