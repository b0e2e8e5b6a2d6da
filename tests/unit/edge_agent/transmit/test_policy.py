"""What may be put on a bus: nothing by default, and never more than the configuration says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FD_LENGTHS, FrameBatch, FrameFlag, batch_of
from can_stream.text.frame_json import FrameRow, rows_of
from edge_agent.config.transmit import (
    AllowEntry,
    Permission,
    RelaySection,
    Replay,
    ReplayRule,
    TransmitSection,
)
from edge_agent.transmit.policy import (
    CommandPolicy,
    FramePermission,
    RateLimit,
    RelayPolicy,
    TargetBus,
    Verdict,
    counts_by_word,
)
from tests.helpers.strategies import frame_batches

EXT, REMOTE, ERROR, FD = (
    int(flag) for flag in (FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.ERROR, FrameFlag.FD)
)
CLASSIC, FD_BUS = TargetBus(listen_only=False, fd=False), TargetBus(listen_only=False, fd=True)
LISTENER = TargetBus(listen_only=True, fd=True)
OBD = AllowEntry("0x7DF", data="02 01 ** ** ** ** ** **")


def batch(*frames: tuple[int, int, bytes]) -> FrameBatch:
    return batch_of((row, one, flags, len(data), data) for row, (one, flags, data) in enumerate(frames))


def listed(
    allow: Sequence[AllowEntry], *frames: tuple[int, int, bytes], bus: TargetBus = CLASSIC
) -> list[Verdict]:
    return verdicts(FramePermission("allowlist", allow).verdicts(batch(*frames), bus))


def verdicts(found: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> list[Verdict]:
    return [Verdict(one) for one in found.tolist()]


def relayed(section: RelaySection, frames: FrameBatch, *ages: float) -> list[Verdict]:
    age = np.array(ages or [0.0] * len(frames))
    return verdicts(RelayPolicy(section).decide(frames, CLASSIC, age))


# -- nothing by default


@given(frame_batches(), st.booleans(), st.booleans())
def test_the_default_configuration_allows_nothing_whatever_the_frame(
    frames: FrameBatch, listen_only: bool, fd: bool
) -> None:
    bus, age = TargetBus(listen_only, fd), np.zeros(len(frames))
    assert Verdict.ALLOWED not in verdicts(CommandPolicy(TransmitSection()).decide(frames, bus, 0.0))
    assert Verdict.ALLOWED not in verdicts(RelayPolicy(RelaySection()).decide(frames, bus, age))


@given(frame_batches())
def test_a_listen_only_dongle_never_transmits_whatever_is_configured(frames: FrameBatch) -> None:
    relay = RelaySection(transmit="all", max_age_seconds=1)
    assert set(verdicts(CommandPolicy(TransmitSection("all")).decide(frames, LISTENER, 0.0))) == {
        Verdict.LISTEN_ONLY
    }
    assert set(verdicts(RelayPolicy(relay).decide(frames, LISTENER, np.zeros(len(frames))))) == {
        Verdict.LISTEN_ONLY
    }


# -- ids and data


def test_an_entry_lets_its_id_and_its_data_through_and_nothing_else() -> None:
    assert listed(
        [OBD],
        (0x7DF, 0, bytes.fromhex("02010C0000000000")),
        (0x7DF, 0, bytes.fromhex("02090C0000000000")),
        (0x7DF, 0, bytes.fromhex("02010C")),
        (0x7DF, 0, b""),
        (0x7E0, 0, bytes.fromhex("02010C0000000000")),
        (0x7DF, EXT, bytes.fromhex("02010C0000000000")),
    ) == [
        Verdict.ALLOWED,
        Verdict.DATA_MISMATCH,
        Verdict.DATA_MISMATCH,
        Verdict.DATA_MISMATCH,
        Verdict.NOT_ALLOWED,
        Verdict.NOT_ALLOWED,
    ]


@pytest.mark.parametrize(
    ("data", "passing", "refused"),
    [
        ("1* *2", "1F02", "2F02"),
        ("1* *2", "10F2", "1F03"),
        ("ab CD", "ABCD", "ABCE"),
        ("** **", "0000", "000000"),
        ("", "", "00"),
    ],
)
def test_digits_and_stars(data: str, passing: str, refused: str) -> None:
    entry = AllowEntry(1, data=data)
    assert not list(entry.problems())
    assert listed([entry], (1, 0, bytes.fromhex(passing)), (1, 0, bytes.fromhex(refused))) == [
        Verdict.ALLOWED,
        Verdict.DATA_MISMATCH,
    ]


def test_one_entry_of_several_is_enough_in_any_order() -> None:
    entries = [AllowEntry(1, data="01"), AllowEntry(1, data="02"), AllowEntry("0x700", "0x700")]
    frames = [(1, 0, b"\2"), (1, 0, b"\1"), (1, 0, b"\3"), (0x7FF, 0, b"")]
    expected = [Verdict.ALLOWED, Verdict.ALLOWED, Verdict.DATA_MISMATCH, Verdict.ALLOWED]
    assert listed(entries, *frames) == expected
    assert listed(entries[::-1], *frames) == expected


def test_a_remote_frame_passes_only_where_no_data_is_asked_for() -> None:
    frames = batch_of([(0, 1, REMOTE, 2, b""), (0, 2, REMOTE, 0, b"")])
    permission = FramePermission("allowlist", [AllowEntry(1), AllowEntry(2, data="")])
    assert verdicts(permission.verdicts(frames, CLASSIC)) == [Verdict.ALLOWED, Verdict.DATA_MISMATCH]


def test_what_no_bus_can_carry_is_refused_even_with_all() -> None:
    frames = FrameBatch(
        np.zeros(7, np.int64),
        np.array([1, 1, 0x800, 0x20000001, 1, 1, 0x8000_0001], np.uint32),
        np.array([ERROR, FD, 0, EXT, 0, FD | REMOTE, 0], np.uint8),
        np.array([8, 12, 0, 0, 16, 0, 0], np.uint8),
        np.zeros((7, 64), np.uint8),
    )
    found = verdicts(FramePermission("all").verdicts(frames, CLASSIC))
    assert found == [Verdict.ERROR_FRAME] + [Verdict.UNSUPPORTED] * 6
    found = verdicts(FramePermission("all").verdicts(frames, FD_BUS))
    assert found == [Verdict.ERROR_FRAME, Verdict.ALLOWED] + [Verdict.UNSUPPORTED] * 5


def test_flag_bits_above_an_id_do_not_pass_as_the_id() -> None:
    frames = FrameBatch(
        np.zeros(1, np.int64),
        np.array([0x8000_07DF], np.uint32),
        np.zeros(1, np.uint8),
        np.zeros(1, np.uint8),
        np.zeros((1, 8), np.uint8),
    )
    permission = FramePermission("allowlist", [AllowEntry("0x7DF")])
    assert verdicts(permission.verdicts(frames, CLASSIC)) == [Verdict.UNSUPPORTED]


# -- rate


def test_so_many_at_once_then_so_many_per_second() -> None:
    policy = CommandPolicy(TransmitSection("all", max_frames_per_second=10))
    frames = batch(*[(1, 0, b"")] * 15)
    assert verdicts(policy.decide(frames, CLASSIC, 100.0)) == [Verdict.ALLOWED] * 10 + [Verdict.RATE] * 5
    assert counts_by_word(policy.decide(frames, CLASSIC, 100.375)) == {"allowed": 3, "rate": 12}
    assert counts_by_word(policy.decide(frames, CLASSIC, 500.0)) == {"allowed": 10, "rate": 5}


def test_refused_frames_cost_nothing_of_the_rate() -> None:
    policy = CommandPolicy(TransmitSection("allowlist", [AllowEntry(1)], max_frames_per_second=1))
    found = verdicts(policy.decide(batch((2, 0, b""), (2, 0, b""), (1, 0, b"")), CLASSIC, 0.0))
    assert found == [Verdict.NOT_ALLOWED, Verdict.NOT_ALLOWED, Verdict.ALLOWED]


def test_a_rate_below_one_frame_per_second() -> None:
    limit = RateLimit(0.1)
    assert [limit.take_one(1, now) for now in (0.0, 5.0, 9.0, 10.0, 11.0, 21.0)] == [1, 0, 0, 1, 0, 1]


@given(
    st.floats(0.1, 500),
    st.lists(st.tuples(st.floats(-1, 3), st.integers(0, 50)), max_size=30),
)
def test_never_more_than_the_rate_and_its_first_second(rate: float, steps: list[tuple[float, int]]) -> None:
    limit, now, latest, granted = RateLimit(rate), 1000.0, 1000.0, 0
    limit.take_one(0, now)
    for step, wanted in steps:
        now += step
        latest = max(latest, now)
        got = limit.take_one(wanted, now)
        assert 0 <= got <= wanted
        granted += got
        assert granted <= max(1.0, rate) + (latest - 1000.0) * rate + 1e-6


# -- the relay


def test_old_frames_are_refused_and_so_are_those_of_unknown_age() -> None:
    section = RelaySection("all", max_age_seconds=2)
    found = relayed(section, batch(*[(1, 0, b"")] * 5), 2.0, 2.001, math.nan, -0.1, math.inf)
    assert found == [Verdict.ALLOWED] + [Verdict.TOO_OLD] * 4


def test_of_a_latest_id_the_newest_that_may_go_stays() -> None:
    policy = [ReplayRule(1, "latest"), ReplayRule(2, "never"), ReplayRule("0x1", "never", extended=True)]
    section = RelaySection(
        "allowlist", [AllowEntry("0", "0x7F0"), AllowEntry(1, extended=True)], 2, policy=policy
    )
    frames = batch((1, 0, b"a"), (3, 0, b""), (1, 0, b"b"), (2, 0, b""), (3, 0, b""), (1, EXT, b""))
    assert relayed(section, frames) == [
        Verdict.SUPERSEDED,
        Verdict.ALLOWED,
        Verdict.ALLOWED,
        Verdict.NEVER,
        Verdict.ALLOWED,
        Verdict.NEVER,
    ]
    # A newer frame that does not go itself supersedes nothing.
    assert relayed(section, batch((1, 0, b""), (1, 0, b"")), 0.0, 5.0) == [Verdict.ALLOWED, Verdict.TOO_OLD]
    remote = batch_of([(0, 1, 0, 0, b""), (0, 1, REMOTE, 0, b"")])
    assert relayed(section, remote) == [Verdict.ALLOWED, Verdict.ALLOWED]


def test_an_empty_queue() -> None:
    assert relayed(RelaySection("all", max_age_seconds=1), batch()) == []


def test_words_are_stable() -> None:
    assert [verdict.word for verdict in Verdict] == [
        "allowed", "listen_only", "error_frame", "unsupported", "not_allowed", "data_mismatch", "never",
        "too_old", "superseded", "rate",
    ]  # fmt: skip


# -- against one frame at a time

few_ids = st.sampled_from([0, 1, 2, 0x7DF, 0x7FF, 0x800, 0x18DAF110])
digits = st.sampled_from(["00", "01", "0*", "*1", "**"])
entries = st.builds(
    AllowEntry,
    id=few_ids,
    mask=st.sampled_from([None, 0x7FF, 0x7F0, 0, 0x1FFFFFFF]),
    extended=st.sampled_from([None, True, False]),
    data=st.none() | st.lists(digits, max_size=3).map(" ".join),
).filter(lambda entry: not list(entry.problems()))
replays: st.SearchStrategy[Replay] = st.sampled_from(["all", "latest", "never"])
rules = st.lists(
    st.builds(
        lambda one, replay, long: ReplayRule(one, replay, long or one > 0x7FF),
        few_ids,
        replays,
        st.booleans(),
    ),
    unique_by=ReplayRule.key,
)


@st.composite
def queues(draw: st.DrawFn) -> FrameBatch:
    """Frames of few ids and little data, so that entries fit now and then; impossible ones among them."""
    kinds = st.sampled_from([0, 0, EXT, EXT, REMOTE, ERROR, FD, FD | EXT])
    payload = st.lists(st.sampled_from([0, 1, 16]), max_size=3).map(bytes)
    rows = st.tuples(few_ids, kinds, payload)
    frames = [(one, flags, b"" if flags & REMOTE else data) for one, flags, data in draw(st.lists(rows))]
    return batch(*frames)


def fits_entry(entry: AllowEntry, row: FrameRow) -> Verdict:
    wanted, mask, extended = entry.terms()
    if bool(row.flags & EXT) != extended or row.arbitration_id & mask != wanted & mask:
        return Verdict.NOT_ALLOWED
    if entry.data is None:
        return Verdict.ALLOWED
    pairs, shown = entry.data.split(), row.data.hex(" ").upper().split()
    same = len(pairs) == len(shown) and all(
        digit in ("*", real)
        for pair, byte in zip(pairs, shown, strict=True)
        for digit, real in zip(pair, byte, strict=True)
    )
    return Verdict.ALLOWED if same and not row.flags & REMOTE else Verdict.DATA_MISMATCH


def judged(permission: Permission, allow: Sequence[AllowEntry], row: FrameRow, bus: TargetBus) -> Verdict:
    """The rules as one would write them for one frame."""
    if bus.listen_only or row.flags & ERROR:
        return Verdict.LISTEN_ONLY if bus.listen_only else Verdict.ERROR_FRAME
    if row.arbitration_id > (0x1FFFFFFF if row.flags & EXT else 0x7FF):
        return Verdict.UNSUPPORTED
    if row.flags & FD and (not bus.fd or row.flags & REMOTE or len(row.data) not in FD_LENGTHS):
        return Verdict.UNSUPPORTED
    if permission == "all":
        return Verdict.ALLOWED
    found = [fits_entry(entry, row) for entry in allow] if permission == "allowlist" else []
    if Verdict.ALLOWED in found:
        return Verdict.ALLOWED
    return max(found, default=Verdict.NOT_ALLOWED)


buses = st.builds(TargetBus, st.sampled_from([False, False, False, True]), st.booleans())
permissions: st.SearchStrategy[Permission] = st.sampled_from(["off", "allowlist", "allowlist", "all"])


@given(permissions, st.lists(entries, max_size=4), queues(), buses, st.integers(0, 10))
def test_commands_agree_with_one_frame_at_a_time(
    permission: Permission, allow: list[AllowEntry], frames: FrameBatch, bus: TargetBus, rate: int
) -> None:
    expected, tokens = [], max(1, rate)
    for row in rows_of(frames):
        verdict = judged(permission, allow, row, bus)
        if verdict is Verdict.ALLOWED:
            verdict = Verdict.ALLOWED if tokens else Verdict.RATE
            tokens -= 1 if tokens else 0
        expected.append(verdict)
    section = TransmitSection(permission, allow, max(rate, 0.5))
    assert verdicts(CommandPolicy(section).decide(frames, bus, 5.0)) == expected


@given(st.data(), permissions, st.lists(entries, max_size=4), rules, queues(), buses)
def test_the_relay_agrees_with_one_frame_at_a_time(
    data: st.DataObject,
    permission: Permission,
    allow: list[AllowEntry],
    policy: list[ReplayRule],
    frames: FrameBatch,
    bus: TargetBus,
) -> None:
    age = st.sampled_from([0.0, 1.0, 2.0, 2.1, math.nan])
    ages = data.draw(st.lists(age, min_size=len(frames), max_size=len(frames)))
    replay = {rule.key(): rule.replay for rule in policy}
    rows = list(rows_of(frames))
    expected = []
    for row, old in zip(rows, ages, strict=True):
        verdict = judged(permission, allow, row, bus)
        if verdict is Verdict.ALLOWED and replay.get((row.arbitration_id, bool(row.flags & EXT))) == "never":
            verdict = Verdict.NEVER
        elif verdict is Verdict.ALLOWED and not old <= 2.0:
            verdict = Verdict.TOO_OLD
        expected.append(verdict)
    newer: set[tuple[int, int]] = set()
    for at in reversed(range(len(rows))):
        row, key = rows[at], (rows[at].arbitration_id, rows[at].flags & (EXT | REMOTE))
        is_latest = replay.get((row.arbitration_id, bool(row.flags & EXT))) == "latest"
        if expected[at] is Verdict.ALLOWED and is_latest:
            if key in newer:
                expected[at] = Verdict.SUPERSEDED
            newer.add(key)
    section = RelaySection(permission, allow, 2, policy=policy)
    assert verdicts(RelayPolicy(section).decide(frames, bus, np.array(ages))) == expected


@given(st.lists(entries, min_size=1, max_size=5), st.data(), queues(), buses)
def test_taking_an_entry_away_never_allows_more(
    allow: list[AllowEntry], data: st.DataObject, frames: FrameBatch, bus: TargetBus
) -> None:
    removed = data.draw(st.integers(0, len(allow) - 1))
    fewer = allow[:removed] + allow[removed + 1 :]
    before = FramePermission("allowlist", allow).verdicts(frames, bus) == Verdict.ALLOWED
    after = FramePermission("allowlist", fewer).verdicts(frames, bus) == Verdict.ALLOWED
    assert not (after & ~before).any()
