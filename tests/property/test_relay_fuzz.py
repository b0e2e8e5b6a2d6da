"""Messages of /ws/relay with anything wrong in them: a value that can be said again, or the documented error.

`FUZZ_MESSAGES` says how many, `FUZZ_SEED` which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from random import Random
from typing import Any, Final

import numpy as np

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import ControlMessageBase, encode_control_message
from can_stream.protocol.deflate import Deflater, Inflater
from can_stream.protocol.errors import ControlMessageError, PacketError
from can_stream.protocol.hop import Age
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import decode_packet, encode_frames, encode_marker
from can_stream.protocol.relay_control import NOT_SENT, decode_from_sink, decode_to_sink
from can_stream.protocol.relay_items import Counts, Handed, Item, ItemDecoder, ItemEncoder
from tests.helpers.mutations import mutated, with_other_bytes

MESSAGES: Final = int(os.environ.get("FUZZ_MESSAGES", "43000")) // 4
SEED: Final = int(os.environ.get("FUZZ_SEED", "13"))
START: Final = "0123456789abcdef"
RECORD: Final = "0123456789abcdef" * 2
CURSOR: Final[dict[str, Any]] = {
    "source_dongle_id": "van7-can0", "start_id": START, "position": 900,
    "totals": {"sent": 800, "accepted": 1, "in_doubt": 16, "not_sent": {"too_old": 80, "gap": 3}},
}  # fmt: skip
DIRECTION: Final[dict[str, Any]] = {
    "sink_dongle_id": "van9-can0", "source_dongle_id": "van7-can0", "activation": f"{RECORD}-7",
    "dry_run": True, "begins_anew": True, "cursors": [CURSOR],
}  # fmt: skip
FROM_SINK: Final[list[dict[str, Any]]] = [
    {"type": "relay_hello", "start_id": START, "protocol": 2,
     "sinks": [{"dongle_id": "van9-can0", "record_id": RECORD, "cursors": [CURSOR]}]},
    {"type": "relay_ping", "number": 5},
    {"type": "settled", "sink_dongle_id": "van9-can0", "cursor": CURSOR},
    {"type": "credit", "sink_dongle_id": "van9-can0", "frames": 2000, "since": 3},
    {"type": "sink_state", "sink_dongle_id": "van9-can0", "waits_for": "lease", "latency_ms": [1.5, 9.0]},
]  # fmt: skip
TO_SINK: Final[list[dict[str, Any]]] = [
    {"type": "directions", "directions": [DIRECTION], "number": 3},
    {"type": "relay_pong", "number": 5, "activations": [f"{RECORD}-7"]},
    {"type": "error", "code": "MALFORMED", "message": "why"},
]
COUNTS: Final = Counts(1, START, 900, 1200, 290, "too_old")
AGE: Final = Age(1500, 5, 200)


def item(chance: Random) -> Item:
    rows = chance.choice((1, 3))
    times, eight = np.arange(rows, dtype=np.int64) * 10**6, np.full(rows, 8, np.uint8)
    ids, flags = np.arange(rows, dtype=np.uint32), np.zeros(rows, np.uint8)
    batch = FrameBatch(times, ids, flags, eight, np.zeros((rows, 8), np.uint8))
    return Item(1, AGE, chance.random() < 0.5, encode_frames(PacketNumber(START, 9), batch, 1000, 900))


def taken(decode: Callable[[str | bytes], ControlMessageBase], text: str | bytes) -> bool:
    """Whether it was a message; then it can be said again, and is the same."""
    try:
        message = decode(text)
    except ControlMessageError:
        return False
    assert decode(encode_control_message(message)) == message
    return True


def handed_over(message: bytes) -> bool:
    """Whether it was something handed, whose packet, if it is one of frames, can be read."""
    try:
        handed: Handed = ItemDecoder().decode(message)
    except PacketError:
        return False
    assert ItemDecoder().decode(ItemEncoder().encode(handed)) == handed
    if isinstance(handed, Counts):
        assert handed.frames <= handed.through - handed.first
        assert handed.reason in NOT_SENT
        return True
    try:
        packet = decode_packet(handed.packet)
    except PacketError:
        return False
    if isinstance(packet.body, Marker):
        assert decode_packet(encode_marker(packet.number, packet.body, packet.position)) == packet
    return True


def fuzzed_text(chance: Random, said: list[dict[str, Any]]) -> bytes:
    one = chance.choice(said)
    text = json.dumps(mutated(chance, one) if chance.random() < 0.7 else one).encode()
    return with_other_bytes(chance, text) if chance.random() < 0.4 else text


def fuzzed_item(chance: Random) -> bytes:
    what = chance.randrange(4)
    if what == 0:
        packet = encode_marker(PacketNumber(START, 9), Marker(f"{RECORD}-7"), 900)
        handed: Handed = Item(1, AGE, fresh=False, packet=with_other_bytes(chance, packet))
    else:
        handed = COUNTS if what == 1 else item(chance)
    message = ItemEncoder().encode(handed)
    if chance.random() < 0.2:
        return with_other_bytes(chance, message)
    return Deflater().pack(with_other_bytes(chance, Inflater().unpack(message)))


def test_whatever_a_gateway_says_is_a_message_or_refused() -> None:
    chance = Random(SEED)
    messages = [taken(decode_from_sink, fuzzed_text(chance, FROM_SINK)) for _ in range(MESSAGES)]
    assert 0 < sum(messages) < MESSAGES
    assert all(taken(decode_from_sink, json.dumps(one)) for one in FROM_SINK)


def test_whatever_the_server_says_is_a_message_or_refused() -> None:
    chance = Random(SEED)
    messages = [taken(decode_to_sink, fuzzed_text(chance, TO_SINK)) for _ in range(MESSAGES)]
    assert 0 < sum(messages) < MESSAGES
    assert all(taken(decode_to_sink, json.dumps(one)) for one in TO_SINK)


def test_whatever_is_handed_is_read_or_refused() -> None:
    chance = Random(SEED)
    messages = [handed_over(fuzzed_item(chance)) for _ in range(MESSAGES)]
    assert 0 < sum(messages) < MESSAGES
    assert all(handed_over(ItemEncoder().encode(one)) for one in (COUNTS, item(chance)))
