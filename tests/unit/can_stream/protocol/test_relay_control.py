"""The text on /ws/relay: what goes in comes out, what is out of bounds is refused, and everything fits."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.control import (
    MAX_CONTROL_MESSAGE_BYTES,
    MAX_DONGLES,
    ControlMessageBase,
    DongleInfo,
    Error,
    Hello,
    RelaySide,
    decode_agent_control_message,
    encode_control_message,
)
from can_stream.protocol.errors import ControlMessageError
from can_stream.protocol.lanes_control import (
    MAX_STARTS,
    BacklogRange,
    LaneHello,
    LanesHello,
    LanesWelcome,
    LedgerEntry,
    decode_data_down,
    decode_data_up,
    encode_lanes,
)
from can_stream.protocol.relay_control import (
    MAX_CURSORS,
    NOT_SENT,
    Credit,
    Cursor,
    Direction,
    Directions,
    GroupStanding,
    RelayHello,
    RelayPing,
    RelayPong,
    Settled,
    SinkHello,
    SinkState,
    Totals,
    decode_from_sink,
    decode_to_sink,
    newest_that_fit,
    plus,
)

MOST = 2**53
LONG_NAME, LONG_TEXT, START, RECORD = "a" * 64, "t" * 512, "f" * 16, "f" * 32
ACTIVATION = "f" * 32 + "-" + "9" * 15
LONGEST = Cursor(LONG_NAME, START, MOST, Totals(MOST, MOST, MOST, dict.fromkeys(NOT_SENT, MOST)))

counts = st.integers(0, MOST)
ids = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
starts = st.binary(min_size=8, max_size=8).map(bytes.hex)
records = st.binary(min_size=16, max_size=16).map(bytes.hex)
activations = st.builds("{}-{}".format, records, st.integers(1, 10**15 - 1))
totals = st.builds(Totals, counts, counts, counts, st.dictionaries(st.sampled_from(NOT_SENT), counts))
cursors = st.lists(st.builds(Cursor, ids, starts, counts, totals), max_size=3)
pings = st.integers(1, MOST)
directions = st.builds(Direction, ids, ids, activations, st.booleans(), st.booleans(), cursors)
milliseconds = st.floats(0, 1e10)
from_sinks = st.one_of(
    st.builds(RelayHello, starts, st.lists(st.builds(SinkHello, ids, records, cursors), max_size=3)),
    st.builds(RelayPing, pings),
    st.builds(Settled, ids, st.builds(Cursor, ids, starts, counts, totals)),
    st.builds(Credit, ids, counts, counts),
    st.builds(SinkState, ids, st.text(max_size=20), st.none() | st.tuples(milliseconds, milliseconds)),
)
to_sinks = st.one_of(
    st.builds(Directions, st.lists(directions, max_size=3), counts),
    st.builds(
        RelayPong,
        pings,
        st.lists(activations, max_size=4),
        st.none()
        | st.lists(st.builds(GroupStanding, ids, ids, st.just("degraded"), st.text(max_size=9)), max_size=3),
    ),
    st.builds(Error, st.text(max_size=20), st.text(max_size=20)),
)


def size(message: ControlMessageBase) -> int:
    return len(encode_control_message(message).encode())


@given(from_sinks)
def test_what_a_gateway_says_survives(message: Any) -> None:
    assert decode_from_sink(encode_control_message(message)) == message


@given(to_sinks)
def test_what_the_server_says_survives(message: Any) -> None:
    assert decode_to_sink(encode_control_message(message)) == message


@given(from_sinks | to_sinks)
def test_what_a_newer_side_says_besides_is_ignored(message: Any) -> None:
    text = encode_control_message(message)[:-1] + ',"mood":"good"}'
    read = decode_to_sink if isinstance(message, Directions | RelayPong | Error) else decode_from_sink
    assert read(text) == message


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_is_a_message_or_a_message_error(text: str | bytes) -> None:
    for read in (decode_from_sink, decode_to_sink):
        with suppress(ControlMessageError):
            read(text)


@pytest.mark.parametrize(
    ("said", "member", "wrong"),
    [
        (RelayPing(1), "number", 0),
        (RelayPing(1), "number", MOST + 1),
        (Credit("b", 1), "frames", -1),
        (Credit("b", 1), "frames", MOST + 1),
        (Credit("b", 1), "since", -1),
        (Credit("b", 1), "sink_dongle_id", "B"),
        (SinkState("b"), "latency_ms", [1.0, -1.0]),
        (SinkState("b"), "latency_ms", [1.0, 1e11]),
        (SinkState("b"), "latency_ms", [1.0]),
        (SinkState("b"), "waits_for", "x" * 513),
        (SinkState("b"), "activation", "x-1"),
        (Settled("b", Cursor("a", START, 5)), "cursor", {"source_dongle_id": "a", "start_id": START}),
        (RelayHello(START, []), "start_id", START.upper()),
        (RelayHello(START, []), "sinks", [{"dongle_id": "b", "record_id": "f" * 31}]),
        (RelayHello(START, []), "sinks", [{"dongle_id": "b", "record_id": RECORD}] * (MAX_DONGLES + 1)),
    ],
)
def test_a_member_out_of_bounds_is_refused(said: Any, member: str, wrong: object) -> None:
    as_it_is = json.loads(encode_control_message(said))
    assert decode_from_sink(json.dumps(as_it_is)) == said
    with pytest.raises(ControlMessageError):
        decode_from_sink(json.dumps({**as_it_is, member: wrong}))


@pytest.mark.parametrize("reason", ["rate", "", "TOO_OLD", "tired"])
def test_a_reason_that_is_not_on_the_list_is_refused(reason: str) -> None:
    text = encode_control_message(Settled("b", Cursor("a", START, 5, Totals(not_sent={"gap": 5}))))
    assert decode_from_sink(text)
    with pytest.raises(ControlMessageError):
        decode_from_sink(text.replace('"gap"', json.dumps(reason)))


@pytest.mark.parametrize(
    ("member", "wrong"),
    [("activation", "f" * 32 + "-0"), ("activation", "f" * 32 + "-1" + "0" * 15), ("source_dongle_id", "")],
)
def test_a_direction_out_of_bounds_is_refused(member: str, wrong: str) -> None:
    one = {"sink_dongle_id": "b", "source_dongle_id": "a", "activation": ACTIVATION}
    assert decode_to_sink(json.dumps({"type": "directions", "directions": [one]}))
    with pytest.raises(ControlMessageError):
        decode_to_sink(json.dumps({"type": "directions", "directions": [{**one, member: wrong}]}))


def test_each_side_refuses_what_only_the_other_says() -> None:
    with pytest.raises(ControlMessageError):
        decode_from_sink(encode_control_message(RelayPong(1, [])))
    with pytest.raises(ControlMessageError):
        decode_to_sink(encode_control_message(RelayPing(1)))


# -- sizes


def test_the_longest_lists_of_cursors_fit_and_longer_ones_are_refused() -> None:
    each = MAX_CURSORS // MAX_DONGLES
    hello = RelayHello(START, [SinkHello(LONG_NAME, RECORD, [LONGEST] * each)] * MAX_DONGLES, 2**31 - 1)
    direction = Direction(LONG_NAME, LONG_NAME, ACTIVATION, True, True, [LONGEST] * each)
    told = Directions([direction] * MAX_DONGLES, 2**63 - 1)
    for message in (hello, told):
        assert 100_000 < size(message) <= MAX_CONTROL_MESSAGE_BYTES
    assert decode_from_sink(encode_control_message(hello)) == hello
    assert decode_to_sink(encode_control_message(told)) == told
    with pytest.raises(ValueError, match="at most 256 are allowed in all"):
        RelayHello(START, [SinkHello("b", RECORD, [LONGEST] * 52)] * 5)
    short = {"source_dongle_id": "a", "start_id": START, "position": 1}
    sinks = [{"dongle_id": "b", "record_id": RECORD, "cursors": [short] * 52}] * 5
    with pytest.raises(ControlMessageError, match="at most 256 are allowed in all"):
        decode_from_sink(json.dumps({"type": "relay_hello", "start_id": START, "sinks": sinks}))


@given(st.lists(st.integers(0, MAX_STARTS), max_size=MAX_DONGLES))
def test_what_is_left_of_too_many_cursors_are_the_newest_of_each(lengths: list[int]) -> None:
    lists = [[Cursor("a", f"{number:016x}", 1) for number in range(length)] for length in lengths]
    kept = newest_that_fit(lists)
    assert sum(map(len, kept)) <= MAX_CURSORS
    for one, all_of_it in zip(kept, lists, strict=True):
        assert one == all_of_it[len(all_of_it) - len(one) :]
        assert one or not all_of_it
    if sum(lengths) <= MAX_CURSORS:
        assert kept == lists


def test_a_hello_of_the_most_dongles_fits() -> None:
    """With whatever in ASCII; texts that take more bytes are the agent's own."""
    side = RelaySide(True, True, "adapter", "counters", 3599.123456789012, 0.12345678901234567,
                     0.12345678901234567, True, True, LONG_TEXT)  # fmt: skip
    dongle = DongleInfo(LONG_NAME, LONG_TEXT, LONG_TEXT, LONG_TEXT, "listen_only", 2**63 - 1, True,
                        2**63 - 1, "off", ["f" * 32] * 8, side)  # fmt: skip
    hello = Hello(LONG_NAME, START, LONG_TEXT, 2**63 - 1, 2**63 - 1, False, LONG_TEXT,
                  [dongle] * MAX_DONGLES, 2, True)  # fmt: skip
    assert size(hello) <= MAX_CONTROL_MESSAGE_BYTES
    assert decode_agent_control_message(encode_control_message(hello)) == hello


def test_a_hello_of_as_many_ranges_and_starts_as_an_agent_lists_fits() -> None:
    """1,200 ranges with what they are carried for, 1,500 starts, of a year's numbers at a full bus."""
    frames, packets = 10**12, 10**10
    held = BacklogRange(START, packets, packets, frames, frames, 691200.123456, ACTIVATION)
    entry = LedgerEntry(START, packets, frames, frames)
    lanes = [LaneHello(LONG_NAME, "frames", packets, [held] * 50, frames, False, [entry] * 62)] * 24
    text = encode_lanes(LanesHello(START, lanes, ages=True), 2)
    assert len(text) <= MAX_CONTROL_MESSAGE_BYTES
    assert len(decode_data_up(text).lanes) == 24


# -- what an agent or server of before makes of it


class OldRange(msgspec.Struct, frozen=True, array_like=True):
    start_id: str
    first_seq: int
    last_seq: int
    position: int | None
    frames: int
    age_seconds: float | None


class OldLane(msgspec.Struct, frozen=True):
    dongle_id: str
    lane: str
    next_seq: int
    backlog: list[OldRange] = []


class OldLanes(msgspec.Struct, frozen=True, tag_field="type", tag="lanes"):
    start_id: str
    lanes: list[OldLane]


class OldDongle(msgspec.Struct, frozen=True):
    dongle_id: str
    interface: str
    channel: str


class OldHello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    agent_id: str
    dongles: list[OldDongle] = []


def test_a_server_of_before_reads_what_is_said_now() -> None:
    for activation in (None, ACTIVATION):
        listed = BacklogRange(START, 1, 6, 40, 99, 2.5, activation)
        text = encode_lanes(LanesHello(START, [LaneHello("a", "frames", 7, [listed])], ages=True), 2)
        old = msgspec.json.decode(text, type=OldLanes)
        assert old.lanes == [OldLane("a", "frames", 7, [OldRange(START, 1, 6, 40, 99, 2.5)])]
    hello = Hello("van7", START, "", 1, 2, True, "1", [DongleInfo("a", "x", "c", relay=RelaySide(True))],
                  relay=True)  # fmt: skip
    old_hello = msgspec.json.decode(encode_control_message(hello), type=OldHello)
    assert old_hello == OldHello("van7", [OldDongle("a", "x", "c")])


def test_what_was_said_before_is_read_now() -> None:
    text = json.dumps({"type": "lanes", "start_id": START, "lanes": [
        {"dongle_id": "a", "lane": "frames", "next_seq": 7, "backlog": [[START, 1, 6, 40, 99, 2.5]]}
    ]})  # fmt: skip
    hello = decode_data_up(text)
    assert hello.lanes[0].backlog == [BacklogRange(START, 1, 6, 40, 99, 2.5, None)]
    assert not hello.ages
    welcome = decode_data_down('{"type":"lanes_welcome","taken_through":[6],"max_packet_bytes":1}')
    assert isinstance(welcome, LanesWelcome)
    assert not welcome.ages


def test_a_side_of_version_1_hears_of_no_activation_and_no_ages() -> None:
    listed = BacklogRange(START, 1, 6, 40, 99, 2.5, ACTIVATION)
    text = encode_lanes(LanesHello(START, [LaneHello("a", "frames", 7, [listed])], ages=True), 1)
    said = json.loads(text)
    assert set(said) == {"type", "start_id", "lanes"}
    assert said["lanes"][0]["backlog"] == [[START, 1, 6, 99, 2.5]]


# -- totals


@given(totals, st.integers(0, 9), st.dictionaries(st.sampled_from(NOT_SENT), st.integers(0, 9)))
def test_totals_only_rise_and_stay_within_their_bound(
    one: Totals, sent: int, refused: dict[Any, int]
) -> None:
    more = plus(one, sent=sent, not_sent=refused)
    assert more.sent == min(2**53, one.sent + sent)
    assert (more.accepted, more.in_doubt) == (one.accepted, one.in_doubt)
    for reason in NOT_SENT:
        whole = one.not_sent.get(reason, 0) + refused.get(reason, 0)
        assert more.not_sent.get(reason, 0) == min(2**53, whole)


def test_totals_that_were_lied_about_can_still_be_said() -> None:
    most = Totals(2**53, 2**53, 2**53, {"gap": 2**53})
    more = plus(most, sent=1, accepted=16, in_doubt=2**53, not_sent={"gap": 1, "never": 3})
    assert more == Totals(2**53, 2**53, 2**53, {"gap": 2**53, "never": 3})
    said = Settled("van-can0", Cursor("truck-can0", "0123456789abcdef", 1, more))
    assert decode_from_sink(encode_control_message(said)) == said
