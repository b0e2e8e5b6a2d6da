"""Packets against rows in JSON or MessagePack, deflated: CPU time and bytes per frame from batch to batch.

    python bench/packets.py [LOG]...

Ours is the packet and the deflated hop around it, from columns to columns. The peers make rows of what
python-can received, and end with a list of such rows; zlib keeps its context, as permessage-deflate does.
Traffic of the demo database at several rates and logs, cut every 50 ms. Before that, the same way beside the
release that spoke version 1 alone (from this repository's history); bytes there are those on the socket, with
all headers.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import can
import msgpack
import numpy as np
from msgspec.structs import replace

from bench.report import Comparison, compare, cpu_seconds, in_turn, show, show_skipped
from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.logs.log_reader import open_log
from can_stream.protocol.hop import Envelope, HopDecoder, HopEncoder, RangeKind
from can_stream.protocol.packet_head import PacketNumber, span_of
from can_stream.protocol.packets import decode_packet, encode_frames
from can_stream.text.frame_json import rows_of
from edge_agent.simulation.messages import simulated_messages
from edge_agent.simulation.traffic import Traffic
from tests.helpers.releases import VERSION_1, unpack
from tests.helpers.shared_data import ICSIM, KONA

BATCH_SECONDS = 0.05
DEMO_DATABASE = Path(__file__).parents[1] / "dbc" / "demo-vehicle.dbc"
RATES = (500, 2_000, 8_000)
FRAMES = 20_000
RUNS = 5
VERSION_RUNS = 11
START_ID = "0123456789abcdef"


@dataclass(frozen=True)
class Result(Comparison):
    frames_per_packet: float
    ours_bytes_per_frame: float
    peer_bytes_per_frame: float


@dataclass(frozen=True)
class Versions(Comparison):
    frames_per_packet: float
    ours_socket_bytes_per_frame: float
    peer_socket_bytes_per_frame: float


@dataclass(frozen=True)
class Format:
    """A way to write rows; `row` makes one."""

    name: str
    row: Callable[[can.Message], Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _json_row(message: can.Message) -> dict[str, Any]:
    return {
        "ts": message.timestamp,
        "id": message.arbitration_id,
        "is_extended": message.is_extended_id,
        "data": message.data.hex(),
    }


def _packed_row(message: can.Message) -> list[Any]:
    return [message.timestamp, message.arbitration_id, message.is_extended_id, bytes(message.data)]


FORMATS = (
    Format("JSON objects", _json_row, lambda rows: json.dumps(rows).encode(), json.loads),
    Format("MessagePack arrays", _packed_row, msgpack.packb, msgpack.unpackb),
)


def demo_traffic(rate: float) -> FrameBatch:
    messages, _ = simulated_messages([DEMO_DATABASE])
    return Traffic(messages, rate).before(int(FRAMES / rate * 1e9))


def cut(frames: FrameBatch) -> list[FrameBatch]:
    """Batches of BATCH_SECONDS each."""
    beats = np.arange(frames.timestamp_ns[0], frames.timestamp_ns[-1], int(BATCH_SECONDS * 1e9))
    places = [*np.searchsorted(frames.timestamp_ns, beats).tolist(), len(frames)]
    return [frames[begin:end] for begin, end in pairwise(places) if end > begin]


def packed(batches: list[FrameBatch]) -> Iterator[bytes]:
    """As a lane of the agent does, which needs the span of a packet's times for itself too."""
    position = 0
    for number, batch in enumerate(batches, 1):
        span_ns = span_of(batch.timestamp_ns)
        yield encode_frames(PacketNumber(START_ID, number), batch, 1_000, position, span_ns)
        position += len(batch)


def ours(batches: list[FrameBatch]) -> Iterator[tuple[bytes, FrameBatch]]:
    """Each packet's message, and what the other end has of it."""
    encoder, decoder = HopEncoder(2), HopDecoder(2)
    for packet in packed(batches):
        message = encoder.encode(Envelope(0, RangeKind.LIVE, packet))
        body = decode_packet(decoder.decode(message).packet).body
        assert isinstance(body, FrameBatch)
        yield message, body


def of_version_1(batches: list[Any]) -> Iterator[tuple[bytes, Any]]:
    """The same by the release whose packets say no position, with batches of its own."""
    hop, packets = import_module("wire_protocol.hop"), import_module("wire_protocol.packets")
    encoder, decoder = hop.HopEncoder(), hop.HopDecoder()
    for number, batch in enumerate(batches, 1):
        packet = packets.encode_frames(packets.PacketNumber(START_ID, number), batch, 1_000)
        _span_ns = (int(batch.timestamp_ns.min()), int(batch.timestamp_ns.max()))
        message = encoder.encode(hop.Envelope(0, hop.RangeKind.LIVE, packet))
        yield message, packets.decode_packet(decoder.decode(message).packet).body


def theirs(form: Format, batches: list[list[can.Message]]) -> Iterator[tuple[bytes, Any]]:
    deflate, inflate = zlib.compressobj(wbits=-zlib.MAX_WBITS), zlib.decompressobj(-zlib.MAX_WBITS)
    for batch in batches:
        rows = form.encode([form.row(message) for message in batch])
        message = deflate.compress(rows) + deflate.flush(zlib.Z_SYNC_FLUSH)
        yield message, form.decode(inflate.decompress(message))


def as_python_can(batch: FrameBatch) -> list[can.Message]:
    return [
        can.Message(row[0] / 1e9, row[1], is_extended_id=bool(row[2] & FrameFlag.EXTENDED), data=row[4])
        for row in rows_of(batch)
    ]


def measure(name: str, frames: FrameBatch, form: Format) -> Result:
    batches = cut(frames)
    messages = [as_python_can(batch) for batch in batches]

    def run_ours() -> list[tuple[bytes, FrameBatch]]:
        return list(ours(batches))

    def run_theirs() -> list[tuple[bytes, Any]]:
        return list(theirs(form, messages))

    mine, other = run_ours(), run_theirs()
    assert all(told.equals(meant) for (_, told), meant in zip(mine, batches, strict=True))
    assert [told for _, told in other] == [[form.row(message) for message in batch] for batch in messages]
    pairs = in_turn(RUNS, lambda: cpu_seconds(run_ours), lambda: cpu_seconds(run_theirs))
    found = compare(f"{name}, {form.name}", "us of CPU per frame", pairs, len(frames) / 1e6)
    our_bytes, peer_bytes = (sum(len(message) for message, _ in side) / len(frames) for side in (mine, other))
    return Result(
        **asdict(found),
        frames_per_packet=len(frames) / len(batches),
        ours_bytes_per_frame=our_bytes,
        peer_bytes_per_frame=peer_bytes,
    )


def measure_versions(name: str, frames: FrameBatch) -> Versions:
    """Version 2 beside the release that spoke version 1 alone, in us of CPU per packet."""
    batches = cut(frames)
    make = import_module("wire_protocol.batches").FrameBatch
    older = [make(b.timestamp_ns, b.arbitration_id, b.flags, b.length, b.data) for b in batches]
    now, before = ([message for message, _ in side] for side in (ours(batches), of_version_1(older)))
    pairs = in_turn(
        VERSION_RUNS,
        lambda: cpu_seconds(lambda: list(ours(batches))),
        lambda: cpu_seconds(lambda: list(of_version_1(older))),
    )
    found = compare(f"{name}, release {VERSION_1}", "us of CPU per packet", pairs, len(batches) / 1e6)
    return Versions(
        **asdict(found),
        frames_per_packet=len(frames) / len(batches),
        ours_socket_bytes_per_frame=socket_bytes(now) / len(frames),
        peer_socket_bytes_per_frame=socket_bytes(before) / len(frames),
    )


def socket_bytes(messages: list[bytes]) -> int:
    """With the headers of a WebSocket client: 2 bytes, 4 of mask, 2 or 8 of length where it is long."""
    sizes = [len(message) for message in messages]
    return sum(size + 6 + (2 if size > 125 else 0) + (6 if size > 65_535 else 0) for size in sizes)


def in_whole_us(frames: FrameBatch) -> FrameBatch:
    return replace(frames, timestamp_ns=frames.timestamp_ns // 1_000 * 1_000)


def main() -> None:
    works = [(f"demo traffic {rate}/s", demo_traffic(rate)) for rate in RATES]
    for log in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else (KONA, ICSIM):
        if log.exists():
            works.append((log.name, concatenate([batch.frames for batch in open_log(log)])))
        else:
            show_skipped(f"{log.name}: needs the shared recordings")
    with TemporaryDirectory() as directory:
        try:
            unpack(VERSION_1, Path(directory))
        except LookupError as error:
            show_skipped(str(error))
        else:
            sys.path.append(directory)
            for name, frames in works:
                show(measure_versions(name, in_whole_us(frames)))
    for name, frames in works:
        for form in FORMATS:
            show(measure(name, in_whole_us(frames), form))


if __name__ == "__main__":
    main()
