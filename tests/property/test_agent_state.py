"""What the agent reads of its own making: any bytes give a value or the one documented error."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag
from edge_agent.discovery.seen_ids import MAX_IDS, SeenIds, decode_seen, encode_seen
from edge_agent.errors import StatusError
from edge_agent.status.accounting import Books
from edge_agent.status.document import AgentStatus, DongleStatus, decode_status, encode_status
from edge_agent.status.socket import ask_status
from tests.helpers.strategies import frame_batches

BOOKS = Books(1, 1, 0, 0, {"acknowledged": 1}, "0 lost of 1 frames")
DONGLE = DongleStatus("van7-can0", "socketcan", "can0", "", 1.0, 0.5, BOOKS, BOOKS)
STATUS = AgentStatus(
    "van7", "0.1", "00" * 8, 1, "2026-01-01T00:00:00Z", 1.0, True, "http://localhost", [], [DONGLE]
)
CONTENT = encode_status(STATUS)
mangled = st.builds(
    lambda at, piece: CONTENT[:at] + piece + CONTENT[at + len(piece) :],
    st.integers(0, len(CONTENT)),
    st.binary(max_size=8),
)


def outcome(read: Callable[[], AgentStatus]) -> AgentStatus | str:
    """The status, or why it is none."""
    try:
        return read()
    except StatusError as error:
        return error.code


@given(st.binary(max_size=500) | mangled | st.just(b"[" * 100_000))
def test_any_answer_is_a_status_or_the_documented_error(content: bytes) -> None:
    with contextlib.suppress(StatusError):
        assert isinstance(decode_status(content), AgentStatus)


@settings(max_examples=30)
@given(st.binary(max_size=500) | mangled | st.just(CONTENT))
def test_any_bytes_at_the_socket_are_a_status_or_the_documented_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        path = Path(directory) / "s"
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(content)

        thread = threading.Thread(target=serve)
        thread.start()
        assert outcome(lambda: ask_status(path)) == outcome(lambda: decode_status(content))
        thread.join()


@given(st.binary(max_size=300))
def test_any_file_is_seen_ids_or_the_documented_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_seen(content)


json_values = st.recursive(
    st.none() | st.integers(-5, 1 << 33) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["buses", "standard", "extended", "van7"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_seen_ids_that_can_be_used_or_the_documented_error(value: object) -> None:
    try:
        buses = decode_seen(msgspec.json.encode({"buses": value}))
    except ValueError:
        return
    for bus in buses.values():
        SeenIds(bus).to_file()


@given(st.lists(frame_batches(), max_size=4))
def test_what_is_new_is_what_a_set_says_and_survives_the_file(batches: list[FrameBatch]) -> None:
    seen, known = SeenIds(), set[tuple[int, bool]]()
    for batch in batches:
        rows = (batch.flags & (FrameFlag.ERROR | FrameFlag.TX)) == 0
        extended = (batch.flags[rows] & FrameFlag.EXTENDED) != 0
        here = set(zip(batch.arbitration_id[rows].tolist(), extended.tolist(), strict=True))
        new = seen.new_in(batch)
        assert len(new) == len(set(new))
        assert set(new) == here - known
        known |= here
    assert len(known) < MAX_IDS
    again = SeenIds(decode_seen(encode_seen({"van7": seen}, {}))["van7"])
    assert again.to_file() == seen.to_file()
    assert np.all([not again.new_in(batch) for batch in batches])
